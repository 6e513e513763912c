/* The config, as a file that reads back as the same config. */
#include <stdlib.h>
#include <string.h>

#include "config/address.h"
#include "config/schema.h"
#include "config/source.h"

static const void *load_pointer(const struct option *o, const void *from)
{
    const void *pointer;

    memcpy(&pointer, (const char *)from + o->offset, sizeof pointer);
    return pointer;
}

static void print_list(const char *const *list, FILE *out)
{
    const char *between = "";

    putc('{', out);
    for (; *list != NULL; list++) {
        fputs(between, out);
        source_print_string(*list, out);
        between = ", ";
    }
    putc('}', out);
}

static void print_option(const struct option *o, const void *from, const char *indent, FILE *out)
{
    if (o->kind == OPTION_LATER || o->kind == OPTION_LATER_BLOCK ||
        (o->kind == OPTION_TEXT && load_pointer(o, from) == NULL))
        return;
    fprintf(out, "%s%s = ", indent, o->name);
    if (o->kind == OPTION_TEXT)
        source_print_string(load_pointer(o, from), out);
    else if (o->kind == OPTION_LIST)
        print_list(load_pointer(o, from), out);
    else
        option_print(o, option_load(o, from), out);
    putc('\n', out);
}

static void print_options(const struct option *options, const void *from, const char *indent, FILE *out)
{
    for (const struct option *o = options; o->name != NULL; o++)
        print_option(o, from, indent, out);
}

/* What a connection string asks for only if it can be had deserves a word. */
static void print_remark(const struct block *b, const void *item, FILE *out)
{
    if (strcmp(b->name, "database") == 0 && address_prefers_tls(((const struct database *)item)->upstream))
        fputs("    # no TLS to the upstream in this version: sslmode=prefer acts as disable\n", out);
}

static void print_titled_blocks(const struct block *b, const struct config *c, FILE *out)
{
    const char *items, *title;
    size_t count;

    memcpy(&items, (const char *)c + b->list_offset, sizeof items);
    memcpy(&count, (const char *)c + b->count_offset, sizeof count);
    for (size_t i = 0; i < count; i++) {
        const char *item = items + i * b->item_size;
        memcpy(&title, item + b->title_offset, sizeof title);
        fprintf(out, "\n%s ", b->name);
        source_print_string(title, out);
        fputs(" {\n", out);
        print_remark(b, item, out);
        print_options(b->options, item, "    ", out);
        fputs("}\n", out);
    }
}

static void print_block(const struct block *b, const struct config *c, FILE *out)
{
    switch (b->kind) {
    case BLOCK_PLAIN:
        fprintf(out, "\n%s {\n", b->name);
        print_options(b->options, c, "    ", out);
        fputs("}\n", out);
        return;
    case BLOCK_TITLED:
        print_titled_blocks(b, c, out);
        return;
    case BLOCK_LATER:
        return;
    }
}

void config_print(const struct config *c, FILE *out)
{
    print_options(schema_file_options, c, "", out);
    for (const struct block *b = schema_blocks; b->name != NULL; b++)
        print_block(b, c, out);
}
