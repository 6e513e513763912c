/* Values: words, switches, counts, durations and sizes.
 *
 * All of them are numbers with names: a word is its place in a list, a duration and a size are a count and a unit. So there
 * is one way to read them and one way to print them. */
#include "config/option.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* The largest first: that is how they are printed. */
static const struct unit durations[] = { { "h", 3600000 }, { "min", 60000 }, { "s", 1000 }, { "ms", 1 }, { NULL, 0 } };
static const struct unit sizes[] = {
    { "GB", UINT64_C(1) << 30 }, { "MB", UINT64_C(1) << 20 }, { "kB", UINT64_C(1) << 10 }, { "B", 1 }, { NULL, 0 }
};
static const struct unit counts[] = { { "", 1 }, { NULL, 0 } };

static const char *const switches[] = { "off", "on", "false", "true", "no", "yes", NULL };

static const struct unit *units_of(enum option_kind kind)
{
    return kind == OPTION_DURATION ? durations : kind == OPTION_SIZE ? sizes : counts;
}

static bool parse_digits(const char **text, uint64_t *number)
{
    const char *at = *text;

    *number = 0;
    while (*at >= '0' && *at <= '9') {
        if (*number > (UINT64_MAX - 9) / 10)
            return false;
        *number = *number * 10 + (uint64_t)(*at++ - '0');
    }
    bool any = at != *text;
    *text = at;
    return any;
}

static bool parse_number(const struct unit *units, const char *text, uint64_t *value)
{
    uint64_t number;

    if (!parse_digits(&text, &number))
        return false;
    for (const struct unit *u = units; u->name != NULL; u++)
        if (strcmp(text, u->name) == 0) {
            *value = number * u->factor;
            return number <= UINT64_MAX / u->factor;
        }
    return false;
}

static bool is_off_when_zero(const struct option *o)
{
    return o->kind == OPTION_DURATION && o->least == 0;
}

/* "read committed" is what PostgreSQL calls read_committed. */
static bool is_word(const char *text, const char *word)
{
    while (*text != '\0' && (*text == *word || (*text == ' ' && *word == '_')))
        text++, word++;
    return *text == '\0' && *word == '\0';
}

static bool find_word(const char *const *words, const char *text, uint64_t *place)
{
    for (*place = 0; words[*place] != NULL; ++*place)
        if (is_word(text, words[*place]))
            return true;
    return false;
}

static enum option_result parse_word(const struct option *o, const char *text, uint64_t *value)
{
    if (!find_word(o->words, text, value))
        return OPTION_IMPOSSIBLE;
    return o->built == 0 || *value < o->built ? OPTION_OK : OPTION_NOT_YET;
}

enum option_result option_parse(const struct option *o, const char *text, uint64_t *value)
{
    bool is_found;

    switch (o->kind) {
    case OPTION_WORD:
        return parse_word(o, text, value);
    case OPTION_SWITCH:
        is_found = find_word(switches, text, value);
        *value &= 1; /* every second one is a yes */
        return is_found ? OPTION_OK : OPTION_IMPOSSIBLE;
    case OPTION_COUNT:
    case OPTION_DURATION:
    case OPTION_SIZE:
        if (is_off_when_zero(o) && strcmp(text, "off") == 0) {
            *value = 0;
            return OPTION_OK;
        }
        if (!parse_number(units_of(o->kind), text, value) || *value < o->least || *value > o->most)
            return OPTION_IMPOSSIBLE;
        return OPTION_OK;
    case OPTION_TEXT:
    case OPTION_FILE:
    case OPTION_SECRET:
    case OPTION_URL:
    case OPTION_CONNINFO:
    case OPTION_UPSTREAM:
    case OPTION_LIST:
    case OPTION_BLOCK:
        break;
    }
    abort();
}

static void print_number(const struct unit *units, uint64_t value, FILE *out)
{
    const struct unit *u = units;

    while (u[1].name != NULL && (value == 0 || value % u->factor != 0))
        u++;
    fprintf(out, "%" PRIu64 "%s", value / u->factor, u->name);
}

void option_print(const struct option *o, uint64_t value, FILE *out)
{
    if (o->kind == OPTION_WORD)
        fputs(o->words[value], out);
    else if (o->kind == OPTION_SWITCH)
        fputs(switches[value], out);
    else if (is_off_when_zero(o) && value == 0)
        fputs("off", out);
    else
        print_number(units_of(o->kind), value, out);
}

static void describe_words(const struct option *o, FILE *out)
{
    for (size_t i = 0; o->words[i] != NULL && (o->built == 0 || i < o->built); i++)
        fprintf(out, "%s%s", i == 0 ? "expected " : " or ", o->words[i]);
}

static void describe_numbers(const struct option *o, const char *kind, FILE *out)
{
    fprintf(out, "expected %s%s", is_off_when_zero(o) ? "off, or " : "", kind);
    if (!is_off_when_zero(o)) {
        fputs(" from ", out);
        option_print(o, o->least, out);
    }
    fputs(is_off_when_zero(o) ? " up to " : " to ", out);
    option_print(o, o->most, out);
}

char *option_expectation(const struct option *o)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert(out != NULL);

    switch (o->kind) {
    case OPTION_WORD:
        describe_words(o, out);
        break;
    case OPTION_SWITCH:
        fputs("expected on or off", out);
        break;
    case OPTION_COUNT:
        describe_numbers(o, "a number", out);
        break;
    case OPTION_DURATION:
        describe_numbers(o, "a number with its unit such as 250ms, 30s, 5min or 1h,", out);
        break;
    case OPTION_SIZE:
        describe_numbers(o, "a number with its unit such as 64kB or 16MB,", out);
        break;
    case OPTION_TEXT:
    case OPTION_FILE:
    case OPTION_SECRET:
    case OPTION_URL:
    case OPTION_CONNINFO:
    case OPTION_UPSTREAM:
    case OPTION_LIST:
    case OPTION_BLOCK:
        abort();
    }
    fclose(out);
    return text;
}

bool option_is_for(const struct option *o, unsigned types)
{
    return o->types == 0 || (o->types & types) != 0;
}

unsigned option_types(const struct option *options, const void *base)
{
    return options[0].selects ? 1u << option_load(&options[0], base) : ~0u;
}

uint64_t option_load(const struct option *o, const void *base)
{
    const char *at = (const char *)base + o->offset;
    uint32_t narrow;
    uint64_t wide;

    if (o->size == sizeof(bool))
        return *(const bool *)at;
    if (o->size == sizeof narrow)
        return memcpy(&narrow, at, sizeof narrow), narrow;
    assert(o->size == sizeof wide);
    return memcpy(&wide, at, sizeof wide), wide;
}

void option_store(const struct option *o, void *base, uint64_t value)
{
    char *at = (char *)base + o->offset;
    uint32_t narrow = (uint32_t)value;

    if (o->size == sizeof(bool)) {
        *(bool *)at = value != 0;
        return;
    }
    assert(o->size == sizeof value || (o->size == sizeof narrow && narrow == value));
    if (o->size == sizeof narrow)
        memcpy(at, &narrow, sizeof narrow);
    else
        memcpy(at, &value, sizeof value);
}
