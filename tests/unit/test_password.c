#include <criterion/criterion.h>

#include "protocol/password.h"

/* What PostgreSQL 15 keeps for CREATE ROLE m PASSWORD 'secret'. */
#define KEPT "md5b52328d7451bfeace80c4b8c338106f9"

Test(password, P9_md5_is_kept_as_postgresql_keeps_it)
{
    char kept[PASSWORD_MD5_SIZE + 1];

    cr_assert(password_md5_kept(kept, span_of("secret"), span_of("m")));
    cr_expect_str_eq(kept, KEPT);
}

Test(password, P9_md5_is_sent_with_the_salt)
{
    char sent[PASSWORD_MD5_SIZE + 1], other[PASSWORD_MD5_SIZE + 1];

    /* printf '%s\1\2\3\4' b52328d7451bfeace80c4b8c338106f9 | md5sum */
    cr_assert(password_md5_sent(sent, span_of(KEPT), "\1\2\3\4"));
    cr_expect_str_eq(sent, "md5b441c8c79190ee049d2b529b74d69aa7");
    cr_assert(password_md5_sent(other, span_of(KEPT), "\1\2\3\5"));
    cr_expect_str_neq(sent, other);
}

Test(password, P9_only_what_looks_like_a_kept_one_is_one)
{
    cr_expect(password_is_md5(span_of(KEPT)));
    cr_expect(!password_is_md5(span_of("md5")));
    cr_expect(!password_is_md5(span_of(KEPT "0")));
    cr_expect(!password_is_md5(span_of("md5B52328d7451bfeace80c4b8c338106f9")));
    cr_expect(!password_is_md5(span_of("md4b52328d7451bfeace80c4b8c338106f9")));
    cr_expect(!password_is_md5(span_make("md5b52328d7451bfeace80c4b8c338106f\0", PASSWORD_MD5_SIZE)));
}

Test(password, P9_comparing_looks_at_every_byte_and_at_the_size)
{
    cr_expect(password_equal(span_of(""), span_of("")));
    cr_expect(password_equal(span_of("abc"), span_of("abc")));
    cr_expect(!password_equal(span_of("abc"), span_of("abd")));
    cr_expect(!password_equal(span_of("abc"), span_of("bbc")));
    cr_expect(!password_equal(span_of("abc"), span_of("ab")));
    cr_expect(!password_equal(span_of("ab"), span_of("abc")));
    cr_expect(!password_equal(span_of(""), span_of("a")));
    cr_expect(!password_equal(span_make("ab", 2), span_make("ab\0", 3)));
}
