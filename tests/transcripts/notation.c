/* The text side of the notation: words to messages, messages to words, and the comparison.
 *
 * One rule divides a line into messages: a bare word of one character begins one, except where the message before it
 * still needs a field (Z I, D S name), and except digits from a client, which no client message begins with. */
#include "tests/transcripts/notation.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/transcripts/notation_wire.h"

void notes_clear(struct notes *n)
{
    n->count = 0;
    n->error[0] = '\0';
    buffer_clear(&n->words);
}

void notes_free(struct notes *n)
{
    buffer_free(&n->words);
    free(n->list);
    *n = (struct notes){ 0 };
}

bool notes_fail(struct notes *n, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(n->error, sizeof n->error, format, args);
    va_end(args);
    return false;
}

struct note *notes_add(struct notes *n, char type)
{
    if (n->count == n->capacity) {
        n->capacity = n->capacity ? 2 * n->capacity : 16;
        n->list = realloc(n->list, n->capacity * sizeof *n->list);
        if (!n->list)
            abort();
    }
    struct note *note = &n->list[n->count++];
    *note = (struct note){ .type = type };
    return note;
}

bool notes_add_field(struct notes *n, char key, bool quoted, struct span value)
{
    struct note *note = &n->list[n->count - 1];
    if (note->count == NOTE_FIELDS_MAX)
        return notes_fail(n, "'%c' has more than %d fields", note->type, NOTE_FIELDS_MAX);
    note->fields[note->count++] =
        (struct note_field){ .key = key, .quoted = quoted, .at = n->words.size, .size = value.size };
    buffer_append_span(&n->words, value);
    return true;
}

struct span notes_value(const struct notes *n, const struct note_field *f)
{
    return span_make(n->words.data + f->at, f->size);
}

bool note_field_is_null(const struct notes *n, const struct note_field *f)
{
    return !f->quoted && span_is(notes_value(n, f), "NULL");
}

/* --- words --------------------------------------------------------------------------------------- */

struct word {
    char key;
    bool quoted;
    struct buffer value;
};

static int hex_digit(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10 : -1;
}

/* What stands between double quotes; `at` is behind the first. False: no second. */
static bool read_quoted(struct span line, size_t *at, struct buffer *out)
{
    while (*at < line.size) {
        char c = line.data[(*at)++];
        if (c == '"')
            return true;
        if (c != '\\' || *at == line.size) {
            buffer_append(out, &c, 1);
            continue;
        }
        char e = line.data[(*at)++];
        if (e == 'x' && *at + 2 <= line.size) {
            buffer_append_u8(out, (uint8_t)(hex_digit(line.data[*at]) << 4 | hex_digit(line.data[*at + 1])));
            *at += 2;
        } else {
            char plain = e == 'n' ? '\n' : e == 't' ? '\t' : e;
            buffer_append(out, &plain, 1);
        }
    }
    return false;
}

/* The next word of the line. False: none is left, or (with n->error set) it cannot be read. */
static bool next_word(struct notes *n, struct span line, size_t *at, struct word *out)
{
    while (*at < line.size && strchr(" \t+,", line.data[*at]))
        ++*at;
    if (*at == line.size)
        return false;
    buffer_clear(&out->value);
    out->key = 0;
    if (*at + 1 < line.size && line.data[*at + 1] == ':') {
        out->key = line.data[*at];
        *at += 2;
    }
    out->quoted = *at < line.size && line.data[*at] == '"';
    if (out->quoted) {
        ++*at;
        return read_quoted(line, at, &out->value) || notes_fail(n, "a quote is not closed");
    }
    size_t start = *at;
    while (*at < line.size && !strchr(" \t+,", line.data[*at]))
        ++*at;
    buffer_append(&out->value, line.data + start, *at - start);
    return true;
}

static bool begins_message(const struct word *w, enum speaker from)
{
    if (w->quoted || w->key || w->value.size != 1)
        return false;
    return from == FROM_SERVER || !isdigit((unsigned char)w->value.data[0]);
}

static unsigned fields_needed(char type, enum speaker from)
{
    if (from == FROM_CLIENT)
        return strchr("PBDC", type) ? 2 : strchr("QEdf", type) ? 1 : 0;
    return strchr("AS", type) ? 2 : strchr("CZENd", type) ? 1 : 0;
}

/* The severity that goes without saying. */
static bool is_usual_severity(char type, struct span word)
{
    return (type == 'E' && span_is(word, "ERROR")) || (type == 'N' && span_is(word, "WARNING"));
}

static bool add_word(struct notes *n, enum speaker from, const struct word *w)
{
    struct note *last = n->count ? &n->list[n->count - 1] : NULL;
    if (!last || (begins_message(w, from) && last->count >= fields_needed(last->type, from))) {
        if (!begins_message(w, from))
            return notes_fail(n, "\"%.*s\" begins no message", (int)w->value.size, w->value.data);
        if (!(from == FROM_CLIENT ? strchr("QPBDCESHXdcf", w->value.data[0])
                                  : strchr("CZTDENASt123nsIcGHdK", w->value.data[0])))
            return notes_fail(n, "no such message: %c", w->value.data[0]);
        notes_add(n, w->value.data[0]);
        return true;
    }
    if (from == FROM_SERVER && last->count == 0 && is_usual_severity(last->type, buffer_span(&w->value)))
        return true;
    if (w->key == 'x') {
        struct buffer raw = { 0 };
        for (size_t i = 0; i + 1 < w->value.size; i += 2)
            buffer_append_u8(&raw, (uint8_t)(hex_digit(w->value.data[i]) << 4 | hex_digit(w->value.data[i + 1])));
        bool ok = notes_add_field(n, 'x', true, buffer_span(&raw));
        buffer_free(&raw);
        return ok;
    }
    return notes_add_field(n, w->key, w->quoted, buffer_span(&w->value));
}

bool notes_read_text(struct notes *n, enum speaker from, struct span line)
{
    struct word w = { 0 };
    size_t at = 0;
    bool ok = true;
    n->error[0] = '\0';
    while (ok && next_word(n, line, &at, &w))
        ok = add_word(n, from, &w);
    buffer_free(&w.value);
    if (ok && !n->error[0] && n->count > 0) {
        const struct note *last = &n->list[n->count - 1];
        if (last->count < fields_needed(last->type, from))
            return notes_fail(n, "'%c' needs more fields", last->type);
    }
    return ok && !n->error[0];
}

/* --- printing ------------------------------------------------------------------------------------ */

static void print_quoted(struct span value, struct buffer *out)
{
    buffer_append_text(out, "\"");
    for (size_t i = 0; i < value.size; i++) {
        unsigned char c = (unsigned char)value.data[i];
        if (c == '"' || c == '\\')
            buffer_format(out, "\\%c", c);
        else if (c == '\n')
            buffer_append_text(out, "\\n");
        else if (c < ' ' || c == 0x7f)
            buffer_format(out, "\\x%02x", c);
        else
            buffer_append(out, &c, 1);
    }
    buffer_append_text(out, "\"");
}

static void print_field(const struct notes *n, const struct note_field *f, struct buffer *out)
{
    struct span value = notes_value(n, f);
    buffer_append_text(out, " ");
    if (f->key)
        buffer_format(out, "%c:", f->key);
    if (f->key == 'x') {
        for (size_t i = 0; i < value.size; i++)
            buffer_format(out, "%02x", (unsigned char)value.data[i]);
    } else if (f->quoted || value.size == 0) {
        print_quoted(value, out);
    } else {
        buffer_append_span(out, value);
    }
}

void notes_print(const struct notes *n, struct buffer *out)
{
    for (size_t i = 0; i < n->count; i++) {
        buffer_format(out, i ? " %c" : "%c", n->list[i].type);
        for (unsigned j = 0; j < n->list[i].count; j++)
            print_field(n, &n->list[i].fields[j], out);
    }
}

void notes_print_bytes(enum speaker from, struct span bytes, struct buffer *out)
{
    struct notes n = { 0 };
    bool ok = notes_read_bytes(&n, from, bytes);
    notes_print(&n, out);
    if (!ok)
        buffer_format(out, " (%s)", n.error);
    notes_free(&n);
}

/* --- comparing ----------------------------------------------------------------------------------- */

static const struct note_field *find_key(const struct note *note, char key)
{
    for (unsigned i = 0; i < note->count; i++)
        if (note->fields[i].key == key)
            return &note->fields[i];
    return NULL;
}

static const struct note_field *find_place(const struct note *note, unsigned place)
{
    for (unsigned i = 0; i < note->count; i++)
        if ((note->fields[i].key == 0 || note->fields[i].key == 'x') && place-- == 0)
            return &note->fields[i];
    return NULL;
}

static bool same_field(const struct notes *a, const struct note_field *fa, const struct notes *b,
                       const struct note_field *fb)
{
    return span_equal(notes_value(a, fa), notes_value(b, fb)) && note_field_is_null(a, fa) == note_field_is_null(b, fb);
}

static bool same_note(const struct notes *wants, const struct note *want, const struct notes *gots,
                      const struct note *got)
{
    if (want->type != got->type)
        return false;
    unsigned place = 0;
    for (unsigned i = 0; i < want->count; i++) {
        const struct note_field *f = &want->fields[i];
        bool keyed = f->key != 0 && f->key != 'x';
        const struct note_field *g = keyed ? find_key(got, f->key) : find_place(got, place++);
        if (!g || !same_field(wants, f, gots, g))
            return false;
    }
    bool may_end_early = want->type == 'E' || want->type == 'N' || (want->type == 'T' && place == 0);
    return may_end_early || !find_place(got, place);
}

bool notes_match(const struct notes *want, const struct notes *got, size_t *at)
{
    for (*at = 0; *at < want->count && *at < got->count; ++*at)
        if (!same_note(want, &want->list[*at], got, &got->list[*at]))
            return false;
    return want->count == got->count;
}
