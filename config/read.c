/* Text → tree → struct config.
 *
 *     file ── source.c ──▶ text without traps ── tree.c ──▶ blocks and lines ── here ──▶ numbers and strings ── check.c ──▶ a config
 *
 * After a syntax error nothing behind it can be trusted, so it stands alone. Once there is a tree, everything that is wrong is
 * gathered, so that one run of `check` tells all. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "config/check.h"
#include "config/schema.h"
#include "config/source.h"
#include "config/tree.h"

struct reader {
    struct config_storage *storage;
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
    struct memory *memory = &r->storage->memory;
    bool is_default = said == NULL || !tree_is_said(said, o->name);
    size_t count = is_default ? o->fallback != NULL : tree_value_count(said, o->name);
    const char **list = memory_take(memory, (count + 1) * sizeof *list);

    for (size_t i = 0; i < count; i++)
        list[i] = memory_copy(memory, is_default ? o->fallback : tree_value(said, o->name, i));
    store_pointer(o, into, list);
}

static void read_later(struct reader *r, const struct option *o, struct tree *said)
{
    bool is_said = false;

    if (said == NULL)
        return;
    for (size_t i = 0; i < tree_value_count(said, o->name); i++)
        is_said = is_said || *tree_value(said, o->name, i) != '\0';
    if (is_said)
        errors_add(r->errors, tree_line(said, o->name), "%s is " LATER, o->name);
}

static void read_later_block(struct reader *r, const struct option *o, struct tree *said)
{
    if (said != NULL && tree_block_count(said, o->name) > 0)
        errors_add(r->errors, tree_line(tree_block(said, o->name, 0), ""), "%s is " LATER, o->name);
}

/* `said` is NULL when the block is not in the file: all defaults. */
static void read_option(struct reader *r, const struct option *o, struct tree *said, void *into)
{
    bool is_said = said != NULL && o->kind != OPTION_LATER_BLOCK && tree_value_count(said, o->name) > 0;
    const char *text = is_said ? tree_value(said, o->name, 0) : o->fallback;
    int line = said != NULL ? tree_line(said, o->name) : 0;

    if (o->required && !is_said) {
        errors_add(r->errors, line, "%s is missing from this block", o->name);
        return;
    }
    switch (o->kind) {
    case OPTION_TEXT:
        store_pointer(o, into, text != NULL ? memory_copy(&r->storage->memory, text) : NULL);
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
    case OPTION_LATER:
        read_later(r, o, said);
        return;
    case OPTION_LATER_BLOCK:
        read_later_block(r, o, said);
        return;
    }
}

static void read_options(struct reader *r, const struct option *options, struct tree *said, void *into)
{
    for (const struct option *o = options; o->name != NULL; o++)
        read_option(r, o, said, into);
}

static void read_titled_blocks(struct reader *r, const struct block *b, struct tree *file)
{
    struct memory *memory = &r->storage->memory;
    size_t count = tree_block_count(file, b->name);
    char *items = memory_take(memory, count * b->item_size);

    for (size_t i = 0; i < count; i++) {
        struct tree *said = tree_block(file, b->name, i);
        const char *title = memory_copy(memory, tree_title(said));
        if (*title == '\0')
            errors_add(r->errors, tree_line(said, ""), "%s \"\": expected a title that is not empty", b->name);
        memcpy(items + i * b->item_size + b->title_offset, &title, sizeof title);
        read_options(r, b->options, said, items + i * b->item_size);
    }
    memcpy((char *)&r->storage->config + b->list_offset, &items, sizeof items);
    memcpy((char *)&r->storage->config + b->count_offset, &count, sizeof count);
}

static void refuse_later_blocks(struct reader *r, const struct block *b, struct tree *file)
{
    for (size_t i = 0; i < tree_block_count(file, b->name); i++)
        errors_add(r->errors, tree_line(tree_block(file, b->name, i), ""), "%s blocks are " LATER, b->name);
}

static void read_block(struct reader *r, const struct block *b, struct tree *file)
{
    switch (b->kind) {
    case BLOCK_PLAIN:
        read_options(r, b->options, tree_block_count(file, b->name) > 0 ? tree_block(file, b->name, 0) : NULL,
                     r->storage);
        return;
    case BLOCK_TITLED:
        read_titled_blocks(r, b, file);
        return;
    case BLOCK_LATER:
        refuse_later_blocks(r, b, file);
        return;
    }
}

/* Takes `text`; NULL when `errors` has any. */
static struct config *read_text(char *text_take, struct config_errors *errors)
{
    struct tree *file = text_take != NULL ? tree_parse(text_take, errors) : NULL;

    free(text_take);
    if (file == NULL)
        return NULL;

    struct reader r = { config_storage_new(), errors };
    r.storage->config.file = memory_copy(&r.storage->memory, errors->line_names == NULL ? errors->file : "");
    read_options(&r, schema_file_options, file, r.storage);
    for (const struct block *b = schema_blocks; b->name != NULL; b++)
        read_block(&r, b, file);
    check_config(r.storage, file, errors);
    tree_free(file);
    if (errors->count == 0)
        return &r.storage->config;
    config_release(&r.storage->config);
    return NULL;
}

static struct config *finish(struct config *config, struct config_errors *errors, FILE *out)
{
    errors_print(errors, out);
    errors_free(errors);
    return config;
}

struct config *config_read(const char *file, FILE *errors_out)
{
    struct config_errors errors = { .file = file };

    return finish(read_text(source_read(file, &errors), &errors), &errors, errors_out);
}

static void say(FILE *out, const char *name, const char *value, const char *end)
{
    if (value != NULL) {
        fprintf(out, "%s = ", name);
        source_print_string(value, out);
    }
    fputs(end, out);
}

/* The options are written as a file would say them, each on a line of its own, so that there is one reader and one set of rules. */
struct config *config_from_options(const char *upstream, const char *listen, const char *mode, const char *end,
                                   FILE *errors_out)
{
    static const char *const names[] = { "--listen", "--upstream", "--mode", "--end" };
    struct config_errors errors = { .file = "command line", .line_names = names };
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert(out != NULL);

    say(out, "listen", listen, "\n");
    fputs("database \"*\" { ", out);
    say(out, "upstream", upstream, " }\n");
    fputs("route \"all\" { ", out);
    say(out, "mode", mode, "\n");
    say(out, "end", end, " }");
    fclose(out);
    return finish(read_text(text, &errors), &errors, errors_out);
}
