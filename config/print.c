/* The config, as a file that reads back as the same config, but for the secrets in it (secret.h). */
#include <stdlib.h>
#include <string.h>

#include "config/schema.h"
#include "config/source.h"
#include "config/users.h"

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

static const struct variables *variables_of(const struct config *c)
{
    return &((const struct config_storage *)c)->variables;
}

/* Nothing else in a webhook's URL than its query may be a secret that is no password. */
static bool hides_query(const struct sink *sink)
{
    return sink->kind == SINK_WEBHOOK;
}

/* True when something in it was hidden. */
static bool print_text(const struct option *o, const void *from, const struct config *c, FILE *out)
{
    const char *text = load_pointer(o, from);

    if (o->kind == OPTION_SECRET)
        return secret_print(text, variables_of(c), out);
    if (o->kind == OPTION_URL)
        return secret_print_url(text, hides_query(from), variables_of(c), out);
    if (o->kind == OPTION_CONNINFO || o->kind == OPTION_UPSTREAM)
        return secret_print_conninfo(text, variables_of(c), out);
    source_print_string(text, out);
    return false;
}

static bool is_text(const struct option *o)
{
    return o->kind == OPTION_TEXT || o->kind == OPTION_FILE || o->kind == OPTION_SECRET || o->kind == OPTION_URL ||
           o->kind == OPTION_CONNINFO || o->kind == OPTION_UPSTREAM;
}

static void print_options(const struct option *options, const void *from, const char *indent, const struct config *c,
                          FILE *out);

static void print_nested(const struct option *o, const void *from, const struct config *c, FILE *out)
{
    fprintf(out, "    %s {\n", o->name);
    print_options(o->options, from, "        ", c, out);
    fputs("    }\n", out);
}

static void print_option(const struct option *o, const void *from, const char *indent, const struct config *c,
                         FILE *out)
{
    bool hides = false;

    if (o->later || (is_text(o) && load_pointer(o, from) == NULL))
        return;
    if (o->kind == OPTION_BLOCK) {
        print_nested(o, from, c, out);
        return;
    }
    fprintf(out, "%s%s = ", indent, o->name);
    if (is_text(o))
        hides = print_text(o, from, c, out);
    else if (o->kind == OPTION_LIST)
        print_list(load_pointer(o, from), out);
    else
        option_print(o, option_load(o, from), out);
    fputs(hides ? "    # ***: a secret, not printed\n" : "\n", out);
}

static void print_options(const struct option *options, const void *from, const char *indent, const struct config *c,
                          FILE *out)
{
    unsigned types = option_types(options, from);

    for (const struct option *o = options; o->name != NULL; o++)
        if (option_is_for(o, types))
            print_option(o, from, indent, c, out);
}

/* What of the channels will not work in this database deserves a word: others may have it. */
static void print_channel_remarks(const struct database *d, const struct config *c, FILE *out)
{
    bool any_durable = false, any_heard = false;

    for (size_t i = 0; i < c->channel_count; i++) {
        any_durable = any_durable || c->channels[i].delivery == DELIVERY_OUTBOX;
        any_heard = any_heard || c->channels[i].capture == CAPTURE_LISTEN;
    }
    if (any_durable && config_outbox(c, d->name) == NULL)
        fputs("    # no outbox block: here a NOTIFY on a channel with delivery = outbox is an error\n", out);
    if (any_heard && d->control == NULL)
        fputs("    # no control: here nothing is heard on channels with capture = listen\n", out);
}

static void print_login_remarks(const struct database *d, const struct config *c, FILE *out)
{
    if (*c->auth_query != '\0' && d->control == NULL)
        fputs("    # no control: here nobody logs in whom only the query of auth knows\n", out);
}

/* Not refused: they may come in by a login block, or be for the upstream. */
static void print_md5_remark(const struct config *c, FILE *out)
{
    size_t count = 0, first = 0;

    for (size_t i = users_count(c->users); i > 0; i--)
        if (users_password_is_md5(users_password(c->users, users_name(c->users, i - 1)))) {
            count++;
            first = i - 1;
        }
    if (count == 0)
        return;
    fprintf(out, "    # %zu with an md5 secret, with which nobody logs in by scram-sha-256; the first is ", count);
    source_print_string(users_name(c->users, first), out);
    putc('\n', out);
}

static void print_remarks(const struct block *b, const void *item, const struct config *c, FILE *out)
{
    if (strcmp(b->name, "database") != 0)
        return;
    print_channel_remarks(item, c, out);
    print_login_remarks(item, c, out);
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
        print_remarks(b, item, c, out);
        print_options(b->options, item, "    ", c, out);
        fputs("}\n", out);
    }
}

static void print_block(const struct block *b, const struct config *c, FILE *out)
{
    switch (b->kind) {
    case BLOCK_PLAIN:
        fprintf(out, "\n%s {\n", b->name);
        if (strcmp(b->name, "auth") == 0 && c->auth == AUTH_SCRAM_SHA_256 && c->users != NULL)
            print_md5_remark(c, out);
        print_options(b->options, c, "    ", c, out);
        fputs("}\n", out);
        return;
    case BLOCK_TITLED:
        print_titled_blocks(b, c, out);
        return;
    }
}

void config_print(const struct config *c, FILE *out)
{
    print_options(schema_config.options, c, "", c, out);
    for (const struct block *b = schema_config.blocks; b->name != NULL; b++)
        print_block(b, c, out);
}
