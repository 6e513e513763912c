/* One sorted table. PostgreSQL knows some 450 keywords; all the others may be used as names anywhere that pgatomic looks. The list has
 * hardly moved over the versions, and where it did, a word too few here means that the server says the syntax error. */
#include "protocol/sql_words.h"

#include "protocol/sql_lexer.h"

enum { RESERVED = 1, FUNCTION = 2, NEEDS_AS = 4 };

struct keyword {
    const char *word;
    unsigned flags;
};

/* clang-format off */
static const struct keyword keywords[] = {
    { "all", RESERVED }, { "analyse", RESERVED }, { "analyze", RESERVED }, { "and", RESERVED }, { "any", RESERVED },
    { "array", RESERVED | NEEDS_AS }, { "as", RESERVED | NEEDS_AS }, { "asc", RESERVED }, { "asymmetric", RESERVED },
    { "authorization", FUNCTION }, { "binary", FUNCTION }, { "both", RESERVED }, { "case", RESERVED },
    { "cast", RESERVED }, { "char", NEEDS_AS }, { "character", NEEDS_AS }, { "check", RESERVED },
    { "collate", RESERVED }, { "collation", FUNCTION }, { "column", RESERVED }, { "concurrently", FUNCTION },
    { "constraint", RESERVED }, { "create", RESERVED | NEEDS_AS }, { "cross", FUNCTION },
    { "current_catalog", RESERVED }, { "current_date", RESERVED }, { "current_role", RESERVED },
    { "current_schema", FUNCTION }, { "current_time", RESERVED }, { "current_timestamp", RESERVED },
    { "current_user", RESERVED }, { "day", NEEDS_AS }, { "default", RESERVED }, { "deferrable", RESERVED },
    { "desc", RESERVED }, { "distinct", RESERVED }, { "do", RESERVED }, { "else", RESERVED }, { "end", RESERVED },
    { "except", RESERVED | NEEDS_AS }, { "false", RESERVED }, { "fetch", RESERVED | NEEDS_AS },
    { "filter", NEEDS_AS }, { "for", RESERVED | NEEDS_AS }, { "foreign", RESERVED }, { "freeze", FUNCTION },
    { "from", RESERVED | NEEDS_AS }, { "full", FUNCTION }, { "grant", RESERVED | NEEDS_AS },
    { "group", RESERVED | NEEDS_AS }, { "having", RESERVED | NEEDS_AS }, { "hour", NEEDS_AS }, { "ilike", FUNCTION },
    { "in", RESERVED }, { "initially", RESERVED }, { "inner", FUNCTION }, { "intersect", RESERVED | NEEDS_AS },
    { "into", RESERVED | NEEDS_AS }, { "is", FUNCTION }, { "isnull", FUNCTION | NEEDS_AS }, { "join", FUNCTION },
    { "lateral", RESERVED }, { "leading", RESERVED }, { "left", FUNCTION }, { "like", FUNCTION },
    { "limit", RESERVED | NEEDS_AS }, { "localtime", RESERVED }, { "localtimestamp", RESERVED },
    { "minute", NEEDS_AS }, { "month", NEEDS_AS }, { "natural", FUNCTION }, { "not", RESERVED },
    { "notnull", FUNCTION | NEEDS_AS }, { "null", RESERVED }, { "offset", RESERVED | NEEDS_AS },
    { "on", RESERVED | NEEDS_AS }, { "only", RESERVED }, { "or", RESERVED }, { "order", RESERVED | NEEDS_AS },
    { "outer", FUNCTION }, { "over", NEEDS_AS }, { "overlaps", FUNCTION | NEEDS_AS }, { "placing", RESERVED },
    { "precision", NEEDS_AS }, { "primary", RESERVED }, { "references", RESERVED },
    { "returning", RESERVED | NEEDS_AS }, { "right", FUNCTION }, { "second", NEEDS_AS }, { "select", RESERVED },
    { "session_user", RESERVED }, { "similar", FUNCTION }, { "some", RESERVED }, { "symmetric", RESERVED },
    { "table", RESERVED }, { "tablesample", FUNCTION }, { "then", RESERVED }, { "to", RESERVED | NEEDS_AS },
    { "trailing", RESERVED }, { "true", RESERVED }, { "union", RESERVED | NEEDS_AS }, { "unique", RESERVED },
    { "user", RESERVED }, { "using", RESERVED }, { "variadic", RESERVED }, { "varying", NEEDS_AS },
    { "verbose", FUNCTION }, { "when", RESERVED }, { "where", RESERVED | NEEDS_AS },
    { "window", RESERVED | NEEDS_AS }, { "with", RESERVED | NEEDS_AS }, { "within", NEEDS_AS },
    { "without", NEEDS_AS }, { "year", NEEDS_AS },
};
/* clang-format on */

/* As strcmp would, but for the case of the word's letters. */
static int compare(struct span word, const char *keyword)
{
    for (size_t i = 0; i < word.size; i++) {
        int difference = (unsigned char)sql_lower(word.data[i]) - (unsigned char)keyword[i];
        if (difference != 0)
            return difference; /* at the keyword's end at the latest */
    }
    return keyword[word.size] ? -1 : 0;
}

static unsigned flags_of(struct span word)
{
    size_t from = 0, to = sizeof keywords / sizeof *keywords;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        int difference = compare(word, keywords[middle].word);
        if (difference == 0)
            return keywords[middle].flags;
        if (difference < 0)
            to = middle;
        else
            from = middle + 1;
    }
    return 0;
}

bool sql_word_can_be_name(struct span word)
{
    return !(flags_of(word) & (RESERVED | FUNCTION));
}

bool sql_word_can_be_value(struct span word)
{
    return !(flags_of(word) & RESERVED);
}

bool sql_word_can_be_bare_label(struct span word)
{
    return !(flags_of(word) & NEEDS_AS);
}
