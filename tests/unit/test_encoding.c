#include <criterion/criterion.h>
#include <stdio.h>

#include "protocol/encoding.h"
#include "tests/unit/bytes.h"

/* Texts in all of PostgreSQL's encodings, as PostgreSQL 15 itself encodes them (convert_to), counts them (length of bytea and
 * encoding) and decodes them. Wherever an encoding has characters that end in a backslash, the text has some. */
static const struct {
    const char *encoding;
    struct span text;
    size_t count;
    const char *utf8;
} texts[] = {
    { "SQL_ASCII", BYTES_INIT("a\xc3\xa9z"), 4, "a\xc3\xa9z" },
    { "UTF8", BYTES_INIT("a\xc3\xa9\xe6\xbc\xa2\xf0\x9f\x98\x80z"), 5, "aé漢😀z" },
    { "EUC_JP", BYTES_INIT("a\xa4\xa2\x8e\xb1\xa1\xc1\x8f\xb0\xa1z"), 6, "aあｱ～丂z" },
    { "EUC_CN", BYTES_INIT("a\xba\xba\xd7\xd6z"), 4, "a汉字z" },
    { "EUC_KR", BYTES_INIT("a\xc7\xd1\xb1\xb9z"), 4, "a한국z" },
    { "EUC_TW", BYTES_INIT("a\xe9\xc7\x8e\xa2\xa1\xa1z"), 4, "a漢乂z" },
    { "EUC_JIS_2004", BYTES_INIT("a\xa4\xa2\xa4\xf7\x8e\xb1\xae\xa1z"), 6, "aあか゚ｱ俱z" },
    { "MULE_INTERNAL", BYTES_INIT("a\x81\xe9\x92\xc8\xa1\x9a\xe0\xe1\x9c\xf0\xa1\xa1z"), 6,
      NULL }, /* PostgreSQL cannot */
    { "MULE_INTERNAL", BYTES_INIT("a\\z"), 3, "a\\z" },
    { "LATIN1", BYTES_INIT("a\xe9\xffz"), 4, "aéÿz" },
    { "LATIN2", BYTES_INIT("a\xb3\xf5z"), 4, "ałőz" },
    { "LATIN3", BYTES_INIT("a\xb6\xbfz"), 4, "aĥżz" },
    { "LATIN4", BYTES_INIT("a\xbb\xf9z"), 4, "aģųz" },
    { "LATIN5", BYTES_INIT("a\xf0\xfez"), 4, "ağşz" },
    { "LATIN6", BYTES_INIT("a\xf0\xbbz"), 4, "aðŧz" },
    { "LATIN7", BYTES_INIT("a\xe0\xfe\xb4z"), 5, "aąž“z" },
    { "LATIN8", BYTES_INIT("a\xf0\xb8z"), 4, "aŵẁz" },
    { "LATIN9", BYTES_INIT("a\xa4\xbdz"), 4, "a€œz" },
    { "LATIN10", BYTES_INIT("a\xba\xfe\xa4z"), 5, "așț€z" },
    { "ISO_8859_5", BYTES_INIT("a\xb6\xefz"), 4, "aЖяz" },
    { "ISO_8859_6", BYTES_INIT("a\xd9\xd1\xc8z"), 5, "aعربz" },
    { "ISO_8859_7", BYTES_INIT("a\xd9\xfez"), 4, "aΩώz" },
    { "ISO_8859_8", BYTES_INIT("a\xf9\xecz"), 4, "aשלz" },
    { "WIN866", BYTES_INIT("a\x86\xdb\xefz"), 5, "aЖ█яz" },
    { "WIN874", BYTES_INIT("a\xa1\xa2\x80z"), 5, "aกข€z" },
    { "WIN1250", BYTES_INIT("a\xb3\x80\xf5z"), 5, "ał€őz" },
    { "WIN1251", BYTES_INIT("a\xc6\x88\xffz"), 5, "aЖ€яz" },
    { "WIN1252", BYTES_INIT("a\x80\xe9\x9fz"), 5, "a€éŸz" },
    { "WIN1253", BYTES_INIT("a\xd9\x80\xfez"), 5, "aΩ€ώz" },
    { "WIN1254", BYTES_INIT("a\xf0\x80\xfez"), 5, "ağ€şz" },
    { "WIN1255", BYTES_INIT("a\xf9\xa4z"), 4, "aש₪z" },
    { "WIN1256", BYTES_INIT("a\xda\x80\x81z"), 5, "aع€پz" },
    { "WIN1257", BYTES_INIT("a\xe0\x80\xfez"), 5, "aą€žz" },
    { "WIN1258", BYTES_INIT("a\xea\xec\xf5\xfez"), 6, "aê\xcc\x81ơ₫z" }, /* not composed */
    { "KOI8R", BYTES_INIT("a\xf6\x80\xd1z"), 5, "aЖ─яz" },
    { "KOI8U", BYTES_INIT("a\xf6\xad\xd1z"), 5, "aЖґяz" },
    { "SJIS", BYTES_INIT("a\x83\\\x95\\\x94\\\xb1\x81`z"), 7, "aソ表能ｱ～z" },
    { "SHIFT_JIS_2004", BYTES_INIT("a\\~\x83\\\x82\xf5\xb1z"), 7, "a\\~ソか゚ｱz" },
    { "BIG5", BYTES_INIT("a\xa5\\\xb3\\\xbb\\z"), 5, "a功許蓋z" },
    { "GBK", BYTES_INIT("a\xba\xba\xd5\\\x81\\z"), 5, "a汉誠乗z" },
    { "UHC",
      BYTES_INIT("a\xc7\xd1\x8c"
                 "cz"),
      4, "a한똠z" },
    { "GB18030",
      BYTES_INIT("a\xba\xba\x81"
                 "0\xa7"
                 "0\x94"
                 "9\xfc"
                 "6z"),
      5, "a汉ȡ😀z" },
    { "JOHAB", BYTES_INIT("a\\\x89\xc6\x9f\xb7z"), 5, "a\\괁링z" },
};

Test(encoding, characters_are_counted_as_the_server_counts_them)
{
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct span text = bytes_exact(texts[i].text);
        cr_assert_eq(encoding_count(encoding_find(span_of(texts[i].encoding)), text), texts[i].count, "%s",
                     texts[i].encoding);
        bytes_free(text);
    }
    cr_assert_eq(encoding_count(encoding_utf8(), (struct span){ 0 }), 0);
}

Test(encoding, characters_are_within_their_text_wherever_it_is_cut)
{
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const struct encoding *e = encoding_find(span_of(texts[i].encoding));
        for (size_t size = 1; size <= texts[i].text.size; size++) {
            struct span cut = bytes_exact(span_make(texts[i].text.data, size));
            size_t characters = 0, at = 0;
            for (; at < size; characters++) {
                size_t step = encoding_character_size(e, span_make(cut.data + at, size - at));
                cr_assert(step >= 1 && step <= size - at, "%s cut at %zu", texts[i].encoding, size);
                at += step;
            }
            cr_assert_eq(encoding_count(e, cut), characters);
            bytes_free(cut);
        }
    }
}

Test(encoding, a_byte_that_begins_no_character_is_one)
{
    for (int byte = 0x80; byte < 0x100; byte++) {
        char text[5] = { (char)byte, 'a', 'b', 'c', 'd' };
        size_t want = byte < 0xc0 || byte > 0xf7 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
        cr_assert_eq(encoding_character_size(encoding_utf8(), span_make(text, 5)), want, "%02x", (unsigned)byte);
    }
}

Test(encoding, text_is_converted_as_the_server_converts_it)
{
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct span text = bytes_exact(texts[i].text);
        struct buffer out = { 0 };
        buffer_append_text(&out, "before");
        bool converted = encoding_to_utf8(encoding_find(span_of(texts[i].encoding)), text, &out);
        cr_assert_eq(converted, texts[i].utf8 != NULL, "%s", texts[i].encoding);
        struct span result = span_make(out.data + 6, out.size - 6);
        cr_assert(span_is(result, texts[i].utf8 ? texts[i].utf8 : ""), "%s: %.*s", texts[i].encoding, (int)result.size,
                  result.data);
        buffer_free(&out);
        bytes_free(text);
    }
}

Test(encoding, ascii_is_ascii_in_every_encoding)
{
    char ascii[127];
    for (size_t i = 0; i < sizeof ascii; i++)
        ascii[i] = (char)(i + 1);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const struct encoding *e = encoding_find(span_of(texts[i].encoding));
        struct buffer out = { 0 };
        cr_assert(encoding_to_utf8(e, span_make(ascii, sizeof ascii), &out), "%s", texts[i].encoding);
        cr_assert(span_equal(buffer_span(&out), span_make(ascii, sizeof ascii)), "%s", texts[i].encoding);
        cr_assert_eq(encoding_count(e, span_make(ascii, sizeof ascii)), sizeof ascii, "%s", texts[i].encoding);
        buffer_free(&out);
    }
}

Test(encoding, what_is_not_well_formed_is_not_converted)
{
    static const struct {
        const char *encoding, *name;
        struct span text;
    } rows[] = {
        { "UTF8", "a byte alone", BYTES_INIT("a\x80") },
        { "UTF8", "cut in a character", BYTES_INIT("a\xe6\xbc") },
        { "UTF8", "cut by ASCII", BYTES_INIT("\xe6\xbcz") },
        { "UTF8", "a second byte that is none", BYTES_INIT("\xc3(") },
        { "UTF8", "two bytes for ASCII", BYTES_INIT("\xc0\xaf") },
        { "UTF8", "three bytes for two", BYTES_INIT("\xe0\x80\xaf") },
        { "UTF8", "four bytes for three", BYTES_INIT("\xf0\x80\x80\xaf") },
        { "UTF8", "a surrogate", BYTES_INIT("\xed\xa0\x80") },
        { "UTF8", "past U+10FFFF", BYTES_INIT("\xf4\x90\x80\x80") },
        { "UTF8", "five bytes", BYTES_INIT("\xf8\x88\x80\x80\x80") },
        { "UTF8", "a NUL", BYTES_INIT("a\0b") },
        { "LATIN1", "a NUL", BYTES_INIT("\xe9\0") },
        { "SQL_ASCII", "a NUL", BYTES_INIT("\0") },
        { "WIN1253", "a hole in the table", BYTES_INIT("a\xd2") },
        { "SJIS", "half a character", BYTES_INIT("a\x83") },
        { "EUC_JP", "half of a character of three", BYTES_INIT("a\x8f\xb0") },
        { "EUC_JP", "controls of the upper half", BYTES_INIT("\x80\x81") },
        { "EUC_KR", "a shift that it does not have", BYTES_INIT("\x8f\xa1\xa1") },
        { "GBK", "a character that would be two", BYTES_INIT("\x80\x01") },
        { "GB18030", "half of a character of four",
          BYTES_INIT("\x81"
                     "0\xa7") },
        { "MULE_INTERNAL", "any but ASCII", BYTES_INIT("\x81\xe9") },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct span text = bytes_exact(rows[i].text);
        struct buffer out = { 0 };
        buffer_append_text(&out, "before");
        cr_assert_not(encoding_to_utf8(encoding_find(span_of(rows[i].encoding)), text, &out), "%s: %s",
                      rows[i].encoding, rows[i].name);
        cr_assert(span_is(buffer_span(&out), "before"), "%s: %s", rows[i].encoding, rows[i].name);
        buffer_free(&out);
        bytes_free(text);
    }
}

Test(encoding, utf8_is_accepted_to_the_edges_of_its_ranges)
{
    static const char edges[] = "\x7f"
                                "\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf"
                                "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf";
    struct buffer out = { 0 };
    cr_assert(encoding_to_utf8(encoding_utf8(), span_of(edges), &out));
    cr_assert(span_is(buffer_span(&out), edges));
    cr_assert_eq(encoding_count(encoding_utf8(), span_of(edges)), 9);
    buffer_free(&out);
}

Test(encoding, a_long_text_is_converted_whole)
{
    struct buffer text = { 0 }, out = { 0 };
    for (unsigned i = 0; i < 20000; i++)
        buffer_append_text(&text, "\xc6|\xff");
    cr_assert(encoding_to_utf8(encoding_find(span_of("WIN1251")), buffer_span(&text), &out));
    cr_assert_eq(out.size, 20000 * strlen("Ж|я"));
    cr_assert(span_is(span_make(out.data + out.size - 5, 5), "Ж|я"));
    buffer_free(&text);
    buffer_free(&out);
}

Test(encoding, R13_only_client_encodings_hide_ascii_in_their_characters)
{
    static const char *const unsafe[] = { "SJIS", "SHIFT_JIS_2004", "BIG5", "GBK", "UHC", "GB18030", "JOHAB" };
    size_t found = 0;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        bool is_unsafe = false;
        for (size_t u = 0; u < sizeof unsafe / sizeof *unsafe; u++)
            is_unsafe |= strcmp(texts[i].encoding, unsafe[u]) == 0;
        cr_assert_eq(encoding_is_ascii_safe(encoding_find(span_of(texts[i].encoding))), !is_unsafe, "%s",
                     texts[i].encoding);
        found += is_unsafe;
    }
    cr_assert_eq(found, sizeof unsafe / sizeof *unsafe);
}

Test(encoding, R13_a_quote_in_a_character_is_part_of_it)
{
    const struct encoding *sjis = encoding_find(span_of("SJIS"));
    cr_assert_eq(encoding_character_size(sjis, span_of("\x83'")), 2);
    cr_assert_eq(encoding_character_size(sjis, span_of("\xb1'")), 1, "half-width kana are one byte");
    cr_assert_eq(encoding_character_size(sjis, span_of("\x83")), 1, "never more than there is");
}

/* --- names --------------------------------------------------------------------------------------- */

Test(encoding, all_names_of_an_encoding_find_it)
{
    static const struct {
        const char *name, *alias;
    } rows[] = {
        { "UTF8", "utf-8" },
        { "UTF8", "Unicode" },
        { "UTF8", "'utf8'" },
        { "LATIN1", "iso-8859-1" },
        { "LATIN5", "ISO_8859_9" },
        { "LATIN6", "iso885910" },
        { "LATIN10", "iso-8859-16" },
        { "SJIS", "Shift_JIS" },
        { "SJIS", "mskanji" },
        { "SJIS", "WIN932" },
        { "SJIS", "windows-932" },
        { "GBK", "win936" },
        { "UHC", "Windows949" },
        { "BIG5", "WIN950" },
        { "WIN1251", "win" },
        { "WIN1251", "windows-1251" },
        { "WIN1258", "abc" },
        { "WIN1258", "TCVN" },
        { "WIN1258", "tcvn5712" },
        { "WIN1258", "VSCII" },
        { "WIN866", "ALT" },
        { "WIN866", "windows866" },
        { "WIN874", "windows874" },
        { "KOI8R", "KOI8" },
        { "KOI8R", "koi8-r" },
        { "SQL_ASCII", "sqlascii" },
        { "MULE_INTERNAL", "mule internal" },
        { "SHIFT_JIS_2004", "shiftjis2004" },
        { "EUC_JIS_2004", "EUCJIS2004" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_assert_eq(encoding_find(span_of(rows[i].name)), encoding_find(span_of(rows[i].alias)), "%s", rows[i].alias);
}

Test(encoding, each_name_is_an_encoding_of_its_own)
{
    for (size_t i = 1; i < sizeof texts / sizeof *texts; i++)
        for (size_t j = 0; j < i; j++)
            cr_assert_eq(encoding_find(span_of(texts[i].encoding)) == encoding_find(span_of(texts[j].encoding)),
                         strcmp(texts[i].encoding, texts[j].encoding) == 0, "%s, %s", texts[i].encoding,
                         texts[j].encoding);
}

Test(encoding, an_unknown_name_is_bytes)
{
    static const char *const rows[] = {
        "",      "-",       " ", "utf",    "utf88",  "tf8",
        "latin", "latin11", "1", "win125", "EBCDIC", "an encoding with a name that is longer than that of any encoding"
    };
    const struct encoding *bytes = encoding_find(span_of("SQL_ASCII"));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_assert_eq(encoding_find(span_of(rows[i])), bytes, "%s", rows[i]);
    cr_assert_eq(encoding_find((struct span){ 0 }), bytes);
    cr_assert_eq(encoding_find(span_of("UTF8")), encoding_utf8());
}
