/* JSON and AMQP tables know the same shapes but for one: a name in a table is at most 255 bytes long. */
#include "proxy/events/amqp_table.h"

#include "protocol/memory.h"

enum { DEPTH_MAX = 16, NAME_MAX_SIZE = 255 };

static bool field_of_json(json_t *value, amqp_pool_t *pool, unsigned depth, amqp_field_value_t *out);

static amqp_bytes_t bytes_of(const char *data, size_t size)
{
    return (amqp_bytes_t){ .len = size, .bytes = (void *)data };
}

static bool table_of_object(json_t *object, amqp_pool_t *pool, unsigned depth, amqp_table_t *out)
{
    *out = amqp_empty_table;
    size_t size = json_object_size(object);
    if (depth == DEPTH_MAX)
        return false;
    if (size == 0)
        return true;
    out->entries = or_abort(amqp_pool_alloc(pool, size * sizeof *out->entries));
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        amqp_table_entry_t *entry = &out->entries[out->num_entries++];
        entry->key = amqp_cstring_bytes(name);
        if (entry->key.len > NAME_MAX_SIZE || !field_of_json(value, pool, depth, &entry->value))
            return false;
    }
    return true;
}

static bool list_of_array(json_t *array, amqp_pool_t *pool, unsigned depth, amqp_array_t *out)
{
    *out = (amqp_array_t){ 0 };
    size_t size = json_array_size(array);
    if (depth == DEPTH_MAX)
        return false;
    if (size == 0)
        return true;
    out->entries = or_abort(amqp_pool_alloc(pool, size * sizeof *out->entries));
    for (size_t i = 0; i < size; i++)
        if (!field_of_json(json_array_get(array, i), pool, depth, &out->entries[out->num_entries++]))
            return false;
    return true;
}

static bool field_of_json(json_t *value, amqp_pool_t *pool, unsigned depth, amqp_field_value_t *out)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        out->kind = AMQP_FIELD_KIND_TABLE;
        return table_of_object(value, pool, depth + 1, &out->value.table);
    case JSON_ARRAY:
        out->kind = AMQP_FIELD_KIND_ARRAY;
        return list_of_array(value, pool, depth + 1, &out->value.array);
    case JSON_STRING:
        out->kind = AMQP_FIELD_KIND_UTF8;
        out->value.bytes = bytes_of(json_string_value(value), json_string_length(value));
        return true;
    case JSON_INTEGER:
        out->kind = AMQP_FIELD_KIND_I64;
        out->value.i64 = json_integer_value(value);
        return true;
    case JSON_REAL:
        out->kind = AMQP_FIELD_KIND_F64;
        out->value.f64 = json_real_value(value);
        return true;
    case JSON_TRUE:
    case JSON_FALSE:
        out->kind = AMQP_FIELD_KIND_BOOLEAN;
        out->value.boolean = json_is_true(value);
        return true;
    case JSON_NULL:
        break;
    }
    out->kind = AMQP_FIELD_KIND_VOID;
    return true;
}

bool amqp_table_of_json(json_t *object, amqp_pool_t *pool, amqp_table_t *out)
{
    return table_of_object(object, pool, 0, out);
}
