# Counts what the scanner reads: its calls into these go through the test.
LIBS_test_statement_work = -Wl,--wrap=sql_lexer_next,--wrap=sql_skip_comment
