/* Verifiers are kept for their users, and for nobody else's secret. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "proxy/auth/verifiers.h"

static struct scram_verifier ask(struct verifiers *all, const char *user, const char *password, uint32_t iterations)
{
    struct scram_verifier v;
    scram_verifier_mock(&v, span_of("0123456789abcdef"), span_of(user));
    v.iterations = iterations;
    verifiers_make(all, span_of(user), span_of(password), &v);
    return v;
}

Test(verifiers, P9_a_verifier_is_made_for_the_first_login_alone)
{
    struct verifiers all = { 0 };
    for (int i = 0; i < 3; i++) {
        struct scram_verifier zoe = ask(&all, "zoe", "secret", 2), joe = ask(&all, "joe", "other", 2);
        cr_expect(scram_verifier_fits(&zoe, span_of("secret")));
        cr_expect(scram_verifier_fits(&joe, span_of("other")));
    }
    cr_expect_eq(all.made, 2);
    verifiers_forget(&all);
    cr_expect_eq(all.count, 0);
}

Test(verifiers, P9_a_new_secret_or_another_count_has_another_verifier)
{
    struct verifiers all = { 0 };
    ask(&all, "zoe", "secret", 2);
    struct scram_verifier changed = ask(&all, "zoe", "changed", 2);
    cr_expect(scram_verifier_fits(&changed, span_of("changed")));
    cr_expect(!scram_verifier_fits(&changed, span_of("secret")));
    struct scram_verifier slower = ask(&all, "zoe", "changed", 3);
    cr_expect_eq(slower.iterations, 3);
    cr_expect(scram_verifier_fits(&slower, span_of("changed")));
    cr_expect_eq(all.count, 1, "the old one is gone");
    verifiers_forget(&all);
}

Test(verifiers, P9_those_that_were_asked_for_last_are_kept_and_no_more)
{
    struct verifiers all = { 0 };
    ask(&all, "regular", "secret", 1);
    for (int i = 0; i < VERIFIERS_MOST + 10; i++) {
        char user[24];
        snprintf(user, sizeof user, "user %d", i);
        ask(&all, user, "secret", 1);
        ask(&all, "regular", "secret", 1);
        cr_assert_leq(all.count, VERIFIERS_MOST);
    }
    cr_expect_eq(all.made, VERIFIERS_MOST + 11, "the regular one's was made once");
    verifiers_forget(&all);
}
