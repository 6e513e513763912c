/* The values of literals and names, as PostgreSQL's scanner would give them to its parser.
 *
 * No value takes more bytes than its literal (\u0041 shrinks to A, '' to a quote, a name is cut), so that room is made once and
 * written to directly.
 *
 * Where PostgreSQL's result hangs on what a proxy cannot know, decoding fails, and the statement is the server's alone: bytes
 * above 0x7F written as \xFF or \377 are in the server's encoding; Unicode escapes for clients that do not speak UTF-8 would
 * have to be converted; \v means something else since PostgreSQL 16. */
#include "protocol/statement.h"

enum { NAME_SIZE_MAX = 63, CODE_POINT_MAX = 0x10FFFF };

/* One value being read. */
struct decoder {
    struct sql_lexer raw; /* over the operand as it stands */
    bool is_utf8;
    char *out; /* room for as many bytes as raw has */
    size_t size;
};

static inline char byte_at(const struct decoder *d, size_t at)
{
    return at < d->raw.text.size ? d->raw.text.data[at] : 0;
}

/* Copies the character at *at of s, which may be what was written before. */
static inline void copy_character(struct decoder *d, struct span s, size_t *at)
{
    struct span rest = span_make(s.data + *at, s.size - *at);
    size_t size = d->raw.wide ? encoding_character_size(d->raw.wide, rest) : 1;
    if (size == 1)
        d->out[d->size] = rest.data[0];
    else
        memmove(d->out + d->size, rest.data, size);
    d->size += size;
    *at += size;
}

/* --- code points ------------------------------------------------------------------------------ */

/* `count` hexadecimal digits at `at`. False when there are fewer. */
static bool read_hex(struct span s, size_t at, size_t count, uint32_t *value)
{
    *value = 0;
    for (size_t i = 0; i < count; i++) {
        int digit = at + i < s.size ? sql_hex_digit(s.data[at + i]) : -1;
        if (digit < 0)
            return false;
        *value = *value << 4 | (uint32_t)digit;
    }
    return true;
}

static bool add_code_point(struct decoder *d, uint32_t c)
{
    char *out = d->out + d->size;
    if (c == 0 || c > CODE_POINT_MAX || (c >= 0x80 && !d->is_utf8))
        return false;
    if (c < 0x80) {
        out[0] = (char)c;
        d->size += 1;
    } else if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        d->size += 2;
    } else if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        d->size += 3;
    } else {
        out[0] = (char)(0xF0 | c >> 18);
        out[1] = (char)(0x80 | (c >> 12 & 0x3F));
        out[2] = (char)(0x80 | (c >> 6 & 0x3F));
        out[3] = (char)(0x80 | (c & 0x3F));
        d->size += 4;
    }
    return true;
}

/* Reads one Unicode escape in front of which *at stands, and moves it behind. False: there is none. */
typedef bool (*escape_reader)(struct span s, char escape, size_t *at, uint32_t *value);

/* Adds the character of the escape at *at, which may be two escapes that are halves of a surrogate pair. */
static bool add_escaped(struct decoder *d, escape_reader read, struct span s, char escape, size_t *at)
{
    uint32_t c, low;
    if (!read(s, escape, at, &c))
        return false;
    if (c >= 0xD800 && c < 0xDC00) {
        if (!read(s, escape, at, &low) || low < 0xDC00 || low > 0xDFFF)
            return false;
        c = 0x10000 + ((c - 0xD800) << 10 | (low - 0xDC00));
    } else if (c >= 0xDC00 && c <= 0xDFFF) {
        return false;
    }
    return add_code_point(d, c);
}

/* --- the inside of quotes --------------------------------------------------------------------- */

/* \uXXXX and \UXXXXXXXX, in E''. */
static bool read_e_unicode(struct span s, char escape, size_t *at, uint32_t *value)
{
    if (*at + 1 >= s.size || s.data[*at] != escape || sql_lower(s.data[*at + 1]) != 'u')
        return false;
    size_t count = s.data[*at + 1] == 'u' ? 4 : 8;
    if (!read_hex(s, *at + 2, count, value))
        return false;
    *at += 2 + count;
    return true;
}

/* A byte by its number, in octal or, behind an x, in hexadecimal. *at stands on the first digit. */
static bool add_numbered_byte(struct decoder *d, size_t *at, unsigned bits, size_t digits)
{
    unsigned value = 0;
    for (; digits > 0; digits--, ++*at) {
        int digit = sql_hex_digit(byte_at(d, *at));
        if (digit < 0 || digit >> bits)
            break;
        value = value << bits | (unsigned)digit;
    }
    return value < 0x80 && add_code_point(d, value);
}

/* The backslash at *at and what belongs to it. */
static bool decode_backslash(struct decoder *d, size_t *at)
{
    char c = byte_at(d, *at + 1);
    if (sql_lower(c) == 'u')
        return add_escaped(d, read_e_unicode, d->raw.text, '\\', at);
    ++*at;
    if (c >= '0' && c <= '7')
        return add_numbered_byte(d, at, 3, 3);
    if (c == 'x' && sql_hex_digit(byte_at(d, *at + 1)) >= 0) {
        ++*at;
        return add_numbered_byte(d, at, 4, 2);
    }
    static const char letters[] = "bfnrt", values[] = "\b\f\n\r\t";
    const char *letter = c ? strchr(letters, c) : NULL;
    if (letter) {
        d->out[d->size++] = values[letter - letters];
        ++*at;
        return true;
    }
    if (*at >= d->raw.text.size || c == 'v')
        return false;
    copy_character(d, d->raw.text, at);
    return true;
}

/* The pieces of a literal from the opening quote at *at on, up to behind its last closing quote. */
static bool decode_quoted(struct decoder *d, size_t *at, char quote, bool backslash)
{
    for (++*at; *at < d->raw.text.size;) {
        char c = d->raw.text.data[*at];
        if (c == '\\' && backslash) {
            if (!decode_backslash(d, at))
                return false;
        } else if (c != quote) {
            copy_character(d, d->raw.text, at);
        } else if (byte_at(d, *at + 1) == quote) {
            d->out[d->size++] = quote;
            *at += 2;
        } else {
            ++*at;
            size_t piece = quote == '\'' ? sql_next_piece(&d->raw, *at) : 0;
            if (!piece)
                return true;
            *at = piece;
        }
    }
    return false;
}

static bool decode_dollar(struct decoder *d)
{
    struct span raw = d->raw.text;
    const char *tag_end = memchr(raw.data + 1, '$', raw.size - 1);
    size_t tag = (size_t)(tag_end - raw.data) + 1;
    d->size = raw.size - 2 * tag;
    memcpy(d->out, raw.data + tag, d->size);
    return true;
}

/* --- U& --------------------------------------------------------------------------------------- */

/* \XXXX and \+XXXXXX, in U&''. */
static bool read_u_unicode(struct span s, char escape, size_t *at, uint32_t *value)
{
    if (*at + 1 >= s.size || s.data[*at] != escape)
        return false;
    size_t sign = s.data[*at + 1] == '+' ? 1 : 0;
    size_t count = sign ? 6 : 4;
    if (!read_hex(s, *at + 1 + sign, count, value))
        return false;
    *at += 1 + sign + count;
    return true;
}

/* The character behind UESCAPE, or a backslash when nothing stands at `at`. 0: not one that PostgreSQL takes, or not written
 * as '!'. */
static char read_uescape(const struct decoder *d, size_t at)
{
    struct sql_lexer rest = d->raw;
    rest.at = at;
    struct sql_token word = sql_lexer_next(&rest);
    if (word.kind == SQL_END)
        return '\\';
    struct sql_token string = sql_lexer_next(&rest);
    if (!sql_word_is(word.text, "uescape") || string.text.size != 3 || string.text.data[0] != '\'')
        return 0;
    char c = string.text.data[1];
    bool refused = sql_hex_digit(c) >= 0 || strchr("+'\" \t\n\v\f\r", c) || (unsigned char)c >= 0x80;
    return refused ? 0 : c;
}

/* U&'…' and U&"…": first unquoted, then, over the pieces as a whole, unescaped. */
static bool decode_unicode(struct decoder *d)
{
    char quote = d->raw.text.data[2];
    size_t at = 2, start = d->size;
    if (!decode_quoted(d, &at, quote, false))
        return false;
    char escape = read_uescape(d, at);
    if (!escape)
        return false;
    struct span escaped = span_make(d->out + start, d->size - start);
    d->size = start;
    for (at = 0; at < escaped.size;) { /* in place: what is written never overtakes what is read */
        if (escaped.data[at] != escape) {
            copy_character(d, escaped, &at);
        } else if (at + 1 < escaped.size && escaped.data[at + 1] == escape) {
            d->out[d->size++] = escape;
            at += 2;
        } else if (!add_escaped(d, read_u_unicode, escaped, escape, &at)) {
            return false;
        }
    }
    return true;
}

/* --- operands --------------------------------------------------------------------------------- */

static bool decode_text(struct decoder *d)
{
    size_t at = 0;
    switch (sql_lower(d->raw.text.data[0])) {
    case '$':
        return decode_dollar(d);
    case 'e':
        at = 1;
        return decode_quoted(d, &at, '\'', true);
    case 'u':
        return !d->raw.backslash && decode_unicode(d);
    }
    return decode_quoted(d, &at, '\'', d->raw.backslash);
}

/* Cuts the name that begins at `start` of the output as PostgreSQL does, between characters. */
static void cut_name(struct decoder *d, size_t start, const struct encoding *encoding)
{
    size_t end = start;
    if (d->size - start <= NAME_SIZE_MAX)
        return;
    while (end < d->size) {
        size_t next = end + encoding_character_size(encoding, span_make(d->out + end, d->size - end));
        if (next - start > NAME_SIZE_MAX)
            break;
        end = next;
    }
    d->size = end;
}

static void fold(struct decoder *d, struct span word)
{
    for (size_t at = 0; at < word.size;) {
        size_t before = d->size;
        copy_character(d, word, &at);
        if (d->size == before + 1)
            d->out[before] = sql_lower(d->out[before]);
    }
}

/* One part of a name, a quoted one or a word. */
static bool decode_name_part(struct decoder *d, struct sql_token token, const struct encoding *encoding)
{
    struct decoder part = *d;
    part.raw.text = token.text;
    size_t at = 0;
    if (token.kind == SQL_WORD)
        fold(&part, token.text);
    else if (token.text.data[0] == '"' ? !decode_quoted(&part, &at, '"', false) : !decode_unicode(&part))
        return false;
    if (part.size == d->size)
        return false;
    cut_name(&part, d->size, encoding);
    d->size = part.size;
    return true;
}

/* A name with its dots. The tokens are those that the reader of the statement has seen, so that nothing else can stand here;
 * UESCAPE is part of the name in front of it. */
static bool decode_name(struct decoder *d, const struct encoding *encoding)
{
    for (;;) {
        struct sql_token token = sql_lexer_next(&d->raw);
        if (token.kind == SQL_END)
            return true;
        if (token.kind == SQL_SYMBOL) {
            d->out[d->size++] = '.';
            continue;
        }
        struct sql_lexer ahead = d->raw;
        if (token.kind == SQL_NAME && sql_word_is(sql_lexer_next(&ahead).text, "uescape")) {
            sql_lexer_next(&ahead);
            token.text.size = (size_t)(ahead.text.data + ahead.at - token.text.data);
            d->raw = ahead;
        }
        if (!decode_name_part(d, token, encoding))
            return false;
    }
}

static bool decode_word(struct decoder *d, const struct encoding *encoding)
{
    fold(d, d->raw.text);
    if (sql_skip_word(&d->raw, 0) > 0) /* numbers are not names */
        cut_name(d, 0, encoding);
    return true;
}

static bool decode(struct decoder *d, const struct operand *operand, const struct encoding *encoding)
{
    switch (operand->kind) {
    case OPERAND_NAME:
        return decode_name(d, encoding);
    case OPERAND_TEXT:
        return decode_text(d);
    case OPERAND_WORD:
        return decode_word(d, encoding);
    case OPERAND_NONE:
    case OPERAND_NULL:
    case OPERAND_PARAMETER:
        break;
    }
    return false;
}

/* Into `room`, which has operand->raw.size bytes. */
static bool decode_into(const struct operand *operand, const struct sql_options *options, char *room, size_t *size)
{
    struct decoder d = { .is_utf8 = options->encoding == encoding_utf8(), .out = room };
    sql_lexer_init(&d.raw, operand->raw, options);
    if (!decode(&d, operand, options->encoding))
        return false;
    *size = d.size;
    return true;
}

bool operand_decode(const struct operand *operand, const struct sql_options *options, struct buffer *out)
{
    size_t size;
    if (!decode_into(operand, options, buffer_reserve(out, operand->raw.size), &size))
        return false;
    out->size += size;
    return true;
}

/* Compares with a short text. What is written at more than this length is not looked into. */
static bool value_is(const struct operand *operand, const struct sql_options *options, const char *text,
                     bool (*equal)(struct span, const char *))
{
    char room[256];
    struct span value = { .data = room };
    /* Quotes and escapes take room: what is no longer than the text has none, and nearly every comparison ends here. */
    if (operand->raw.size <= strlen(text))
        return operand->kind == OPERAND_NAME && sql_word_is(operand->raw, text);
    return operand->raw.size <= sizeof room && decode_into(operand, options, room, &value.size) && equal(value, text);
}

bool operand_is(const struct operand *operand, const struct sql_options *options, const char *text)
{
    return value_is(operand, options, text, span_is);
}

bool operand_is_ignoring_case(const struct operand *operand, const struct sql_options *options, const char *text)
{
    return value_is(operand, options, text, sql_word_is);
}

/* Ours have no quote and no escape in them, so that only a U& name has to be decoded to be known. */
bool statement_name_is_reserved(const struct operand *name)
{
    static const char ours[] = "pgatomic_";
    struct sql_options options = { .standard_conforming_strings = true, .encoding = encoding_utf8() };
    const size_t size = sizeof ours - 1;
    struct span raw = name->raw;
    if (raw.size < size)
        return false;
    if (raw.data[0] == '"')
        return raw.size > size && memcmp(raw.data + 1, ours, size) == 0;
    if (raw.data[1] != '&')
        return sql_word_is(span_make(raw.data, size), ours);
    struct buffer b = { 0 };
    bool reserved = operand_decode(name, &options, &b) && b.size >= size && memcmp(b.data, ours, size) == 0;
    buffer_free(&b);
    return reserved;
}
