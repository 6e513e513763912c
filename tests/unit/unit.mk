# Count what is read and compared: calls into these go through the test.
LIBS_test_statement_work = -Wl,--wrap=sql_lexer_next,--wrap=sql_skip_comment
LIBS_test_link_work = -Wl,--wrap=strncasecmp,--wrap=strlen,--wrap=encoding_count,--wrap=handles_set,--wrap=sql_lexer_next
