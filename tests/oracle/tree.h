/* Reads the tree that PostgreSQL's parser makes of a statement. It comes as JSON with its keys in a fixed order, so that it can be read from
 * left to right by taking what has to stand there. */
#ifndef TESTS_ORACLE_TREE_H
#define TESTS_ORACLE_TREE_H

#include "protocol/buffer.h"

/* Takes `text` if it stands at *json. */
bool tree_eat(const char **json, const char *text);
/* The rest of a string, up to behind its closing quote, appended to `out` unless that is NULL. */
void tree_eat_string(const char **json, struct buffer *out);
void tree_eat_number(const char **json);
/* A value of any kind, whatever is in it. */
void tree_eat_value(const char **json);
/* Where in the text it stands, if that is said. */
void tree_eat_location(const char **json);
/* Behind `key` wherever it first stands; NULL: nowhere. */
const char *tree_behind(const char *json, const char *key);
/* Appends the string behind `key`, or "-". */
void tree_append_field(struct buffer *out, const char *json, const char *key);

#endif
