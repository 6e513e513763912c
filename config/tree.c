/* libconfuse, taught to remember lines.
 *
 * It calls back for every value while its line counter stands there. All our options are of the kind CFGT_PTR, whose numeric default
 * libconfuse never looks at: that field of the block's own copy of the option keeps the line. No counter is kept for where a block
 * begins, but the default of an option is parsed when its block opens: so each block has a hidden option with a default.
 *
 * libconfuse's scanner is global to the process, hence the lock. */
#include "config/tree.h"

#include <assert.h>
#include <confuse.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "config/memory.h"

static const char opened[] = "(opened)";

/* libconfuse compares each title with all before it: the time grows with the square of their number. */
enum { MOST_BLOCKS = 5000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Of the parse under way, by the holder of the lock. */
static struct config_errors *parse_errors;
static const struct schema *parse_schema;

static void report_unknown(cfg_t *block, const char *name);

static int on_opened(cfg_t *block, cfg_opt_t *option, const char *value, void *result)
{
    if (strcmp(value, "here") != 0) { /* not the default: somebody wrote that name */
        report_unknown(block, option->name);
        return -1;
    }
    if (option->def.number == 0)
        option->def.number = block->line;
    *(void **)result = NULL;
    return 0;
}

static int on_value(cfg_t *block, cfg_opt_t *option, const char *value, void *result)
{
    /* A list calls once for each item; `name = …` a second time starts again with the first. */
    if (option->def.number != 0 && option->nvalues == 1)
        errors_add(parse_errors, block->line, "%s is said twice: line %ld says it already", option->name,
                   option->def.number);
    if (option->def.number == 0)
        option->def.number = block->line;

    char *copy = strdup(value);
    assert(copy != NULL);
    *(void **)result = copy;
    return 0;
}

static bool has_option(const struct option *options, const char *name)
{
    while (options->name != NULL && strcmp(options->name, name) != 0)
        options++;
    return options->name != NULL;
}

/* The blocks in which it is known, and the file itself. */
static void print_homes(const char *name, FILE *out)
{
    const char *between = "it belongs in ";

    if (has_option(parse_schema->options, name)) {
        fprintf(out, "%sthe file itself, outside of blocks", between);
        between = ", ";
    }
    for (const struct block *b = parse_schema->blocks; b->name != NULL; b++)
        if (has_option(b->options, name)) {
            fprintf(out, "%s%s { }", between, b->name);
            between = ", ";
        }
    if (*between == ',')
        fputs("; ", out);
}

static void print_known(const cfg_t *block, FILE *out)
{
    const char *between = "expected one of ";

    for (const cfg_opt_t *o = block->opts; o->name != NULL; o++)
        if (strcmp(o->name, opened) != 0) {
            fprintf(out, "%s%s", between, o->name);
            between = ", ";
        }
}

static void report_unknown(cfg_t *block, const char *name)
{
    char *words = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&words, &size);
    assert(out != NULL);

    if (parse_schema->example != NULL) {
        fprintf(out, "expected %s", parse_schema->example);
    } else {
        print_homes(name, out);
        print_known(block, out);
    }
    fclose(out);
    errors_add(parse_errors, block->line, "unknown name \"%s\": %s", errors_word(parse_errors, name), words);
    free(words);
}

/* Its complaints, and what we say instead: also what was expected. Each takes at most the one string that its own takes. */
static const struct {
    const char *theirs, *ours;
} complaints[] = {
    { "missing equal sign after option '%s'", "%s: expected = and a value" },
    { "attempt to append to non-list option '%s'", "%s: expected =, for it takes one value" },
    { "missing title for section '%s'", "%s: expected a title and a block, as in \"title\" { … }" },
    { "missing opening brace for section '%s'", "%s: expected a block in { }" },
    { "found duplicate title '%s'", "there is a second block with the title \"%s\": expected titles that differ" },
    { "premature end of file", "the file ends where a value or a block was expected" },
};

static const char *find_words(const char *theirs)
{
    for (size_t i = 0; i < sizeof complaints / sizeof *complaints; i++)
        if (strcmp(complaints[i].theirs, theirs) == 0)
            return complaints[i].ours;
    return theirs;
}

static void on_error(cfg_t *block, const char *format, va_list arguments)
{
    char *text;

    if (strcmp(format, "no such option '%s'") == 0) {
        report_unknown(block, va_arg(arguments, const char *));
        return;
    }
    if (strcmp(format, "unexpected token '%s'") == 0) {
        errors_add(parse_errors, block->line, "unexpected \"%s\": expected a name, a value, or what goes between them",
                   errors_word(parse_errors, va_arg(arguments, const char *)));
        return;
    }
    int length = vasprintf(&text, find_words(format), arguments);
    assert(length >= 0);
    errors_add(parse_errors, block->line, "%s", text);
    free(text);
}

static cfg_opt_t value_option(const struct option *o)
{
    if (o->kind == OPTION_LIST)
        return (cfg_opt_t)CFG_PTR_LIST_CB(o->name, NULL, CFGF_NODEFAULT, on_value, free);
    return (cfg_opt_t)CFG_PTR_CB(o->name, NULL, CFGF_NODEFAULT, on_value, free);
}

/* libconfuse copies what it is given, nested options too. */
static cfg_opt_t *take_options(struct memory *m, const struct option *options, size_t blocks)
{
    size_t count = 0;

    while (options[count].name != NULL)
        count++;
    cfg_opt_t *list = memory_take(m, (count + blocks + 2) * sizeof *list);
    for (size_t i = 0; i < count; i++)
        if (options[i].kind == OPTION_BLOCK)
            list[blocks + i] =
                (cfg_opt_t)CFG_SEC(options[i].name, take_options(m, options[i].options, 0), CFGF_NODEFAULT);
        else
            list[blocks + i] = value_option(&options[i]);
    list[blocks + count] = (cfg_opt_t)CFG_PTR_LIST_CB(opened, "{here}", CFGF_NONE, on_opened, free);
    return list;
}

/* Called when a block is whole. */
static int on_block(cfg_t *file, cfg_opt_t *option)
{
    if (cfg_opt_size(option) <= MOST_BLOCKS)
        return 0;
    errors_add(parse_errors, file->line, "this is one %s block too many: expected at most %d", option->name,
               MOST_BLOCKS);
    return -1;
}

static cfg_opt_t block_option(struct memory *m, const struct block *b)
{
    cfg_flag_t flags = b->kind == BLOCK_PLAIN ? CFGF_NODEFAULT : CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES;
    cfg_opt_t option = CFG_SEC(b->name, take_options(m, b->options, 0), flags);

    option.validcb = on_block;
    return option;
}

static cfg_opt_t *take_file_options(struct memory *m, const struct schema *schema)
{
    size_t blocks = 0;

    while (schema->blocks[blocks].name != NULL)
        blocks++;
    cfg_opt_t *list = take_options(m, schema->options, blocks);
    for (size_t i = 0; i < blocks; i++)
        list[i] = block_option(m, &schema->blocks[i]);
    return list;
}

struct tree *tree_parse(const char *text, const struct schema *schema, struct config_errors *errors)
{
    struct memory memory = { NULL };
    size_t errors_before = errors->count;

    pthread_mutex_lock(&lock);
    parse_errors = errors;
    parse_schema = schema;
    cfg_t *file = cfg_init(take_file_options(&memory, schema), CFGF_NONE);
    assert(file != NULL);
    cfg_set_error_function(file, on_error);
    bool parsed = cfg_parse_buf(file, text) == CFG_SUCCESS;
    if (!parsed && errors->count == errors_before)
        errors_add(errors, file->line, "syntax error: expected the name of an option or a block");
    if (!parsed) {
        cfg_free(file);
        file = NULL;
    }
    parse_errors = NULL;
    parse_schema = NULL;
    pthread_mutex_unlock(&lock);
    memory_free(&memory);
    return (struct tree *)file;
}

void tree_free(struct tree *file)
{
    pthread_mutex_lock(&lock);
    cfg_free((cfg_t *)file); /* lets go of the scanner as well */
    pthread_mutex_unlock(&lock);
}

size_t tree_block_count(struct tree *in, const char *name)
{
    return cfg_size((cfg_t *)in, name);
}

struct tree *tree_block(struct tree *in, const char *name, size_t index)
{
    return (struct tree *)cfg_getnsec((cfg_t *)in, name, (unsigned)index);
}

const char *tree_title(struct tree *block)
{
    return cfg_title((cfg_t *)block);
}

bool tree_is_said(struct tree *block, const char *option)
{
    return (cfg_getopt((cfg_t *)block, option)->flags & CFGF_MODIFIED) != 0;
}

size_t tree_value_count(struct tree *block, const char *option)
{
    return cfg_size((cfg_t *)block, option);
}

const char *tree_value(struct tree *block, const char *option, size_t index)
{
    return cfg_getnptr((cfg_t *)block, option, (unsigned)index);
}

static long option_line(cfg_t *block, const char *name)
{
    for (const cfg_opt_t *o = block->opts; o->name != NULL; o++)
        if (strcmp(o->name, name) == 0)
            return o->def.number;
    return 0;
}

int tree_line(struct tree *block, const char *option)
{
    cfg_t *b = (cfg_t *)block;
    long line = option_line(b, option);

    if (line == 0)
        line = option_line(b, opened);
    return line != 0 ? (int)line : b->line;
}
