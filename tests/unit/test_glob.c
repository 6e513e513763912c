#include <criterion/criterion.h>
#include <string.h>

#include "config/config.h"

static const struct {
    const char *pattern, *text;
    bool want;
} rows[] = {
    { "", "", true },
    { "", "a", false },
    { "a", "", false },
    { "a", "a", true },
    { "a", "A", false },
    { "a", "ab", false },
    { "ab", "a", false },
    { "*", "", true },
    { "*", "anything/at all", true },
    { "**", "", true },
    { "a*", "a", true },
    { "a*", "ba", false },
    { "*a", "bba", true },
    { "*a", "bbab", false },
    { "*a*", "bab", true },
    { "a*b*c", "a--b--c", true },
    { "a*b*c", "a--c--b", false },
    { "*ab", "aab", true },
    { "*aab", "aaaab", true },
    { "a*ab", "aab", true },
    { "a*ab", "ab", false },
    { "/checkout/*", "/checkout/cart/7", true },
    { "/checkout/*", "/checkout", false },
    { "mail.*", "mail.welcome", true },
    { "?", "a", true },
    { "?", "", false },
    { "?", "ab", false },
    { "?", "é", true },
    { "?", "\U0001f600", true },
    { "a?c", "a→c", true },
    { "*?", "é", true },
    { "*??", "é", false },
    { "[a]", "a", false },
    { "[a]", "[a]", true },
    { "\\*", "\\x", true },
};

Test(glob, star_is_any_run_and_question_mark_is_one_character)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect_eq(glob_matches(rows[i].pattern, rows[i].text, strlen(rows[i].text)), rows[i].want, "%s against %s",
                     rows[i].pattern, rows[i].text);
}

Test(glob, text_ends_where_its_size_says)
{
    cr_expect(glob_matches("abc", "abcdef", 3));
    cr_expect_not(glob_matches("abcd", "abcdef", 3));
    cr_expect(glob_matches("a*", "a\0b", 3));
}

Test(glob, question_mark_takes_a_broken_character_byte_by_byte)
{
    cr_expect(glob_matches("?", "\xff", 1));
    cr_expect(glob_matches("??", "\xff\xfe", 2));
    cr_expect(glob_matches("?", "\xe2\x82", 2));
}

Test(glob, many_stars_take_no_longer_than_one)
{
    char pattern[401], text[20001];

    for (size_t i = 0; i < sizeof pattern - 1; i += 2)
        memcpy(pattern + i, "*a", 2);
    memcpy(pattern + sizeof pattern - 3, "*b", 3);
    memset(text, 'a', sizeof text - 1);
    cr_expect_not(glob_matches(pattern, text, sizeof text - 1));
}
