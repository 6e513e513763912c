/* JSON as an AMQP 0-9-1 field table. */
#ifndef PROXY_EVENTS_AMQP_TABLE_H
#define PROXY_EVENTS_AMQP_TABLE_H

#include <amqp.h>
#include <jansson.h>
#include <stdbool.h>

/* The table of a JSON object: text, 64-bit integers, doubles, booleans, void for null, arrays and tables. Its strings are borrowed
 * from `object`, its entries live in `pool`. False when it is nested deeper than anything sensible or a name in it has more than the
 * 255 bytes that AMQP allows. */
bool amqp_table_of_json(json_t *object, amqp_pool_t *pool, amqp_table_t *out);

#endif
