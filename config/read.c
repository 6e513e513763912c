/* Tree → struct, as a schema says.
 *
 * One walk over the tables of options. Whatever is wrong with a value is gathered, and the walk goes on: one run of `check` tells all. */
#include "config/read.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "config/conninfo.h"
#include "config/secret.h"
#include "config/source.h"

struct reader {
    struct memory *memory;
    struct config_errors *errors;
};

#define LATER "not supported by this version of pgatomic"

static void refuse_value(struct reader *r, const struct option *o, int line, const char *found)
{
    char *expected = option_expectation(o);

    errors_add(r->errors, line, "%s: %s, but found \"%.100s\"", o->name, expected, found);
    free(expected);
}

static void refuse_later_value(struct reader *r, const struct option *o, int line, const char *found)
{
    char *expected = option_expectation(o);

    errors_add(r->errors, line, "%s = %s is " LATER ": %s", o->name, found, expected);
    free(expected);
}

static void read_number(struct reader *r, const struct option *o, int line, const char *text, void *into)
{
    uint64_t value = 0;

    switch (option_parse(o, text, &value)) {
    case OPTION_OK:
        option_store(o, into, value);
        return;
    case OPTION_IMPOSSIBLE:
        refuse_value(r, o, line, text);
        return;
    case OPTION_NOT_YET:
        option_store(o, into, value);
        refuse_later_value(r, o, line, text);
        return;
    }
}

static void store_pointer(const struct option *o, void *into, const void *pointer)
{
    assert(o->size == sizeof pointer);
    memcpy((char *)into + o->offset, &pointer, sizeof pointer);
}

static void read_list(struct reader *r, const struct option *o, struct tree *said, void *into)
{
    bool is_default = said == NULL || !tree_is_said(said, o->name);
    size_t count = is_default ? o->fallback != NULL : tree_value_count(said, o->name);
    const char **list = memory_take(r->memory, (count + 1) * sizeof *list);

    for (size_t i = 0; i < count; i++)
        list[i] = memory_copy(r->memory, is_default ? o->fallback : tree_value(said, o->name, i));
    store_pointer(o, into, list);
}

/* Unless it is switched off by an empty value. */
static void refuse_later(struct reader *r, const struct option *o, struct tree *said)
{
    bool is_said = false;

    for (size_t i = 0; i < tree_value_count(said, o->name); i++)
        is_said = is_said || *tree_value(said, o->name, i) != '\0';
    if (is_said)
        errors_add(r->errors, tree_line(said, o->name), "%s is " LATER, o->name);
}

static void read_options(struct reader *r, const struct option *options, struct tree *said, void *into);

static struct tree *nested_block(struct tree *said, const char *name)
{
    return said != NULL && tree_block_count(said, name) > 0 ? tree_block(said, name, 0) : NULL;
}

static void read_text_value(struct reader *r, const struct option *o, int line, const char *text, void *into)
{
    bool is_hidden = o->kind == OPTION_SECRET && text != NULL && secret_is_hidden(text);

    if (is_hidden)
        errors_add(r->errors, line, "%s: %s", o->name, secret_hidden_expected);
    store_pointer(o, into, text != NULL ? memory_copy(r->memory, text) : NULL);
}

static void read_file_name(struct reader *r, const struct option *o, const char *text, void *into)
{
    bool is_none = text == NULL || *text == '\0';

    store_pointer(o, into, is_none ? memory_copy(r->memory, "") : source_beside(r->errors->file, text, r->memory));
}

/* An empty one is as good as none, where there need not be one. */
static void read_conninfo(struct reader *r, const struct option *o, int line, const char *text, void *into)
{
    bool is_none = text == NULL || (*text == '\0' && !o->required);

    if (!is_none)
        conninfo_check(text, o->name, line, r->errors);
    store_pointer(o, into, is_none ? NULL : memory_copy(r->memory, text));
}

/* `said` is NULL when the block is not in the file: all defaults. */
static void read_value(struct reader *r, const struct option *o, struct tree *said, void *into)
{
    bool is_said = said != NULL && o->kind != OPTION_BLOCK && tree_value_count(said, o->name) > 0;
    const char *text = is_said ? tree_value(said, o->name, 0) : o->fallback;
    int line = said != NULL ? tree_line(said, o->name) : 0;

    if (o->required && !is_said) {
        errors_add(r->errors, line, "%s is missing from this block", o->name);
        return;
    }
    switch (o->kind) {
    case OPTION_TEXT:
    case OPTION_SECRET:
    case OPTION_URL:
    case OPTION_UPSTREAM:
        read_text_value(r, o, line, text, into);
        return;
    case OPTION_FILE:
        read_file_name(r, o, text, into);
        return;
    case OPTION_CONNINFO:
        read_conninfo(r, o, line, text, into);
        return;
    case OPTION_LIST:
        read_list(r, o, said, into);
        return;
    case OPTION_WORD:
    case OPTION_SWITCH:
    case OPTION_COUNT:
    case OPTION_DURATION:
    case OPTION_SIZE:
        read_number(r, o, line, text, into);
        return;
    case OPTION_BLOCK:
        read_options(r, o->options, nested_block(said, o->name), into);
        return;
    }
}

static void read_option(struct reader *r, const struct option *o, struct tree *said, void *into)
{
    size_t errors_before = r->errors->count;

    read_value(r, o, said, into);
    if (o->later && said != NULL && r->errors->count == errors_before)
        refuse_later(r, o, said);
}

static char *list_options(const struct option *options, unsigned types)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert(out != NULL);

    const char *between = "";
    for (const struct option *o = options + 1; o->name != NULL; o++)
        if (option_is_for(o, types)) {
            fprintf(out, "%s%s", between, o->name);
            between = ", ";
        }
    fclose(out);
    return text;
}

/* "type = redis or celery": the types that take `o`. */
static char *list_types(const struct option *o, const struct option *selector)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert(out != NULL);

    const char *between = " = ";
    fputs(selector->name, out);
    for (size_t i = 0; selector->words[i] != NULL; i++)
        if (option_is_for(o, 1u << i)) {
            fprintf(out, "%s%s", between, selector->words[i]);
            between = " or ";
        }
    fclose(out);
    return text;
}

/* An option of another type: `queue` on a webhook. */
static void refuse_option(struct reader *r, const struct option *o, const struct option *options, struct tree *said,
                          const void *into)
{
    struct tree *nested = o->kind == OPTION_BLOCK ? nested_block(said, o->name) : NULL;
    bool is_said = o->kind == OPTION_BLOCK ? nested != NULL : tree_is_said(said, o->name);

    if (!is_said)
        return;
    const char *type = options[0].words[option_load(&options[0], into)];
    char *known = list_options(options, option_types(options, into)), *types = list_types(o, &options[0]);
    errors_add(r->errors, nested != NULL ? tree_line(nested, "") : tree_line(said, o->name),
               "%s has no effect with %s = %s, which takes %s: expected %s", o->name, options[0].name, type,
               *known != '\0' ? known : "no other", types);
    free(known);
    free(types);
}

static void fall_back(struct reader *r, const struct option *o, void *into)
{
    struct option optional = *o;

    optional.required = false;
    read_option(r, &optional, NULL, into);
}

/* While the type of a block is not known, for it was wrong, nothing is said about what depends on it. */
static void read_options(struct reader *r, const struct option *options, struct tree *said, void *into)
{
    size_t errors_before = r->errors->count;
    unsigned types = ~0u;

    for (const struct option *o = options; o->name != NULL; o++) {
        bool is_fit = option_is_for(o, types), is_certain = o->types == 0 || types != ~0u;
        if (is_fit && is_certain)
            read_option(r, o, said, into);
        else
            fall_back(r, o, into);
        if (!is_fit)
            refuse_option(r, o, options, said, into);
        if (o->selects && r->errors->count == errors_before)
            types = option_types(options, into);
    }
}

static void read_titled_blocks(struct reader *r, const struct block *b, struct tree *file, void *into)
{
    size_t count = tree_block_count(file, b->name);
    char *items = memory_take(r->memory, count * b->item_size);

    for (size_t i = 0; i < count; i++) {
        struct tree *said = tree_block(file, b->name, i);
        const char *title = memory_copy(r->memory, tree_title(said));
        if (b->later)
            errors_add(r->errors, tree_line(said, ""), "%s blocks are " LATER, b->name);
        if (*title == '\0')
            errors_add(r->errors, tree_line(said, ""), "%s \"\": expected a title that is not empty", b->name);
        memcpy(items + i * b->item_size + b->title_offset, &title, sizeof title);
        read_options(r, b->options, said, items + i * b->item_size);
    }
    memcpy((char *)into + b->list_offset, &items, sizeof items);
    memcpy((char *)into + b->count_offset, &count, sizeof count);
}

static void read_block(struct reader *r, const struct block *b, struct tree *file, void *into)
{
    switch (b->kind) {
    case BLOCK_PLAIN:
        read_options(r, b->options, nested_block(file, b->name), into);
        return;
    case BLOCK_TITLED:
        read_titled_blocks(r, b, file, into);
        return;
    }
}

void read_schema(const struct schema *schema, struct tree *file, void *into, struct memory *memory,
                 struct config_errors *errors)
{
    struct reader r = { memory, errors };

    read_options(&r, schema->options, file, into);
    for (const struct block *b = schema->blocks; b->name != NULL; b++)
        read_block(&r, b, file, into);
}
