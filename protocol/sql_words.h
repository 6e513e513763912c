/* The keywords that cannot stand everywhere a name can (PostgreSQL documentation, "SQL Key Words"). */
#ifndef PROTOCOL_SQL_WORDS_H
#define PROTOCOL_SQL_WORDS_H

#include "protocol/span.h"

/* May name a cursor, a savepoint, a channel, …: an identifier, or a keyword that is neither reserved nor kept for functions and types. */
bool sql_word_can_be_name(struct span word);
/* May stand as a parameter's value in SET: anything but a reserved word. */
bool sql_word_can_be_value(struct span word);
/* May name an output column without AS in front of it. */
bool sql_word_can_be_bare_label(struct span word);

#endif
