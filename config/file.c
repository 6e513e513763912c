/* A file → a config.
 *
 *     file ── source.c ──▶ text without traps ── tree.c ──▶ blocks and lines ── read.c ──▶ numbers and strings ── check.c ──▶ a config
 *
 * After a syntax error nothing behind it can be trusted, so it stands alone. Once there is a tree, everything that is wrong is
 * gathered. */
#include <assert.h>
#include <stdlib.h>

#include "config/check.h"
#include "config/read.h"
#include "config/source.h"

/* Takes `storage` and `text`; NULL when `errors` has any. */
static struct config *read_text(struct config_storage *storage_take, char *text_take, struct config_errors *errors)
{
    struct tree *file = text_take != NULL ? tree_parse(text_take, &schema_config, errors) : NULL;

    free(text_take);
    storage_take->config.file = memory_copy(&storage_take->memory, errors->line_names == NULL ? errors->file : "");
    if (file != NULL) {
        read_schema(&schema_config, file, storage_take, &storage_take->memory, errors);
        check_config(storage_take, file, errors);
        tree_free(file);
    }
    if (file != NULL && errors->count == 0)
        return &storage_take->config;
    config_release(&storage_take->config);
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
    struct config_storage *storage = config_storage_new();
    char *text = source_read(file, &storage->variables, &storage->memory, &errors);

    return finish(read_text(storage, text, &errors), &errors, errors_out);
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
    return finish(read_text(config_storage_new(), text, &errors), &errors, errors_out);
}
