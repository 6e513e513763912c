/* The users file. */
#include "config/users.h"

#include "tests/unit/with_config.h"

/* What users_read() makes of `text`; `errors` is what it writes, with "FILE" for the file's name. The caller frees it. */
static struct users *users_of(const char *text, char **errors)
{
    char *path = file_with(text, strlen(text)), *written = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&written, &size);
    struct users *users = users_read(path, out);

    fclose(out);
    *errors = errors_without_path(written, path);
    free(written);
    unlink(path);
    free(path);
    return users;
}

#define KEY "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define VERIFIER "SCRAM-SHA-256$4096:c2FsdA==$" KEY ":" KEY

Test(users, a_password_is_found_by_the_name_of_its_user)
{
    char *errors;
    setenv("PGATOMIC_TEST", "from environment", 1);
    struct users *u = users_of("# accounts\nuser \"zoe\" { password = \"plain, or a $ \\\" sign\" }\n"
                               "user app { password = \"${PGATOMIC_TEST}\" }\n"
                               "user \"App\" { password = 'SCRAM-SHA-1$x' }\n"
                               "user \"report\" { password = \"" VERIFIER "\" }\n"
                               "user \"old\" { password = md5a3556571e93b0d20722ba62be61e8c2d }\n",
                               &errors);

    cr_assert_not_null(u, "%s", errors);
    cr_expect_str_eq(errors, "");
    cr_expect_str_eq(users_password(u, "zoe"), "plain, or a $ \" sign");
    cr_expect_str_eq(users_password(u, "app"), "from environment");
    cr_expect_str_eq(users_password(u, "App"), "SCRAM-SHA-1$x");
    cr_expect_str_eq(users_password(u, "report"), VERIFIER);
    cr_expect_str_eq(users_password(u, "old"), "md5a3556571e93b0d20722ba62be61e8c2d");
    cr_expect_null(users_password(u, "APP"));
    cr_expect_null(users_password(u, ""));
    cr_expect_null(users_password(u, "ap"));
    cr_expect_null(users_password(u, "apps"));
    users_free(u);
    free(errors);
}

Test(users, an_empty_file_is_nobody)
{
    char *errors;
    struct users *u = users_of("", &errors);

    cr_assert_not_null(u, "%s", errors);
    cr_expect_null(users_password(u, "app"));
    users_free(u);
    free(errors);
}

Test(users, P9_most_of_them_are_plain_or_else_verifiers)
{
    static const struct {
        const char *text;
        bool want;
    } rows[] = {
        { "", false },
        { "user a { password = x }", true },
        { "user a { password = md5a3556571e93b0d20722ba62be61e8c2d }", true },
        { "user a { password = \"" VERIFIER "\" }", false },
        { "user a { password = \"" VERIFIER "\" } user b { password = x }", false },
        { "user a { password = \"" VERIFIER "\" } user b { password = x } user c { password = y }", true },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *errors;
        struct users *u = users_of(rows[i].text, &errors);
        cr_assert_not_null(u, "%s", errors);
        cr_expect_eq(users_are_mostly_plain(u), rows[i].want, "%s", rows[i].text);
        users_free(u);
        free(errors);
    }
}

#define DAMAGED "password: this verifier is damaged: expected SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey\n"

#define DAMAGED_MD5 "password: this verifier is damaged: expected md5 and 32 hex digits in lower case\n"

static const struct {
    const char *text, *want;
} mistakes[] = {
    { "user a { }", "FILE:1: password is missing from this block\n" },
    { "user a {\npassword = \"\" }", "FILE:2: password: expected from 1 to 1000 bytes\n" },
    { "user a { password = \"***\" }",
      "FILE:1: password: *** stands for a secret that was not printed: expected the secret itself, or ${VAR}\n" },
    { "user \"\" { password = x }", "FILE:1: user \"\": expected a title that is not empty\n" },
    { "user \"1234567890123456789012345678901234567890123456789012345678901234\" { password = x }",
      "FILE:1: user: expected a name of at most 63 bytes\n" },
    { "user a { password = x }\nuser a { password = y }",
      "FILE:2: there is a second block with the title \"a\": expected titles that differ\n" },
    { "user a { password = x }\nuser b { }\nuser c { password = \"\" }",
      "FILE:2: password is missing from this block\nFILE:3: password: expected from 1 to 1000 bytes\n" },
    { "users = 3", "FILE:1: unknown name \"…\": expected user \"NAME\" { password = \"…\" }\n" },
    { "database x { }", "FILE:1: unknown name \"…\": expected user \"NAME\" { password = \"…\" }\n" },
    { "\"app\" \"md5a3556571e93b0d20722ba62be61e8c2d\"",
      "FILE:1: unknown name \"…\": expected user \"NAME\" { password = \"…\" }\n" },
    { "user a { password = md5a3556571e93b0d20722ba62be61e8c2 }", "FILE:1: " DAMAGED_MD5 },
    { "user a { password = md5A3556571E93B0D20722BA62BE61E8C2D }", "FILE:1: " DAMAGED_MD5 },
    /* verifiers */
    { "user a { password = \"SCRAM-SHA-256$\" }", "FILE:1: " DAMAGED },
    { "user a { password = \"SCRAM-SHA-256$0:c2FsdA==$" KEY ":" KEY "\" }", "FILE:1: " DAMAGED },
    { "user a { password = \"SCRAM-SHA-256$-1:c2FsdA==$" KEY ":" KEY "\" }", "FILE:1: " DAMAGED },
    { "user a { password = \"SCRAM-SHA-256$4294967296:c2FsdA==$" KEY ":" KEY "\" }", "FILE:1: " DAMAGED },
    { "user a { password = \"SCRAM-SHA-256$4096$c2FsdA==$" KEY ":" KEY "\" }", "FILE:1: " DAMAGED },
    { "user a { password = \"SCRAM-SHA-256$4096:$" KEY ":" KEY "\" }", "FILE:1: " DAMAGED },
    { "user a { password = \"SCRAM-SHA-256$4096:c2FsdA=$" KEY ":" KEY "\" }", "FILE:1: " DAMAGED },
    { "user a { password = \"SCRAM-SHA-256$4096:c2FsdA==$AAAA:" KEY "\" }", "FILE:1: " DAMAGED },
    { "user a { password = \"SCRAM-SHA-256$4096:c2FsdA==$" KEY "\" }", "FILE:1: " DAMAGED },
    { "user a { password = \"SCRAM-SHA-256$4096:c2FsdA==$" KEY ":" KEY " \" }", "FILE:1: " DAMAGED },
    { "user a { password = \"SCRAM-SHA-256$4096:c2FsdA==$" KEY ":" KEY KEY "\" }", "FILE:1: " DAMAGED },
    { "user a { password = \"SCRAM-SHA-256$4096:c2Fs dA==$" KEY ":" KEY "\" }", "FILE:1: " DAMAGED },
};

Test(users, a_mistake_is_told_with_its_line_and_what_was_expected)
{
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        char *errors;
        cr_expect_null(users_of(mistakes[i].text, &errors), "%s", mistakes[i].text);
        cr_expect_str_eq(errors, mistakes[i].want, "%s\n gives: %s\n  want: %s", mistakes[i].text, errors,
                         mistakes[i].want);
        free(errors);
    }
}

/* However a password is written wrongly. */
Test(users, no_piece_of_a_password_is_repeated)
{
    static const char *const texts[] = {
        "user a { password = my xyzzy }",
        "user a { password xyzzy }",
        "user a { password = \"a\" xyzzy }",
        "user a { password = \"x${xyzzy}\" }",
        "user a { password = \"x${xy zzy}\" }",
        "user a { password = \"x${xyzzy\" }",
        "user a { password = x, xyzzy }",
        "user a { password = (xyzzy) }",
        "xyzzy",
        "user a { xyzzy = b }",
        "user a { password = \"SCRAM-SHA-256$xyzzy\" }",
    };

    unsetenv("xyzzy");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char *errors;
        cr_expect_null(users_of(texts[i], &errors), "%s", texts[i]);
        cr_expect_neq(*errors, '\0', "%s", texts[i]);
        cr_expect_null(strstr(errors, "zzy"), "%s gives: %s", texts[i], errors);
        free(errors);
    }
}

static char *text_with_users(int count)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    for (int i = 0; i < count; i++)
        fprintf(out, "user u%d { password = p%d }\n", i, i);
    fclose(out);
    return text;
}

Test(users, there_may_be_five_thousand_and_no_more)
{
    char *errors, *text = text_with_users(5000);
    struct users *u = users_of(text, &errors);

    cr_assert_not_null(u, "%s", errors);
    cr_expect_str_eq(users_password(u, "u0"), "p0");
    cr_expect_str_eq(users_password(u, "u4999"), "p4999");
    cr_expect_null(users_password(u, "u5000"));
    users_free(u);
    free(errors);
    free(text);

    text = text_with_users(5001);
    cr_expect_null(users_of(text, &errors));
    cr_expect_not_null(strstr(errors, "FILE:5001: this is one user block too many: expected at most 5000"), "%s",
                       errors);
    free(errors);
    free(text);
}

Test(users, a_file_that_is_not_there_is_an_error)
{
    char *errors = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&errors, &size);

    cr_expect_null(users_read("/nowhere/users.conf", out));
    fclose(out);
    cr_expect_str_eq(errors, "/nowhere/users.conf: cannot be opened: No such file or directory\n");
    free(errors);
}
