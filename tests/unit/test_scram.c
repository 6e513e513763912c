/* Keys, verifiers and passwords of SCRAM; what PostgreSQL 15 made of the same is the judge. */
#include <criterion/criterion.h>

#include "protocol/scram.h"
#include "protocol/scram_prepare.h"
#include "protocol/scram_text.h"
#include "tests/unit/bytes.h"

#define SALT "0XCGHWNOUlgYzuj6d2NpxQ=="
#define STORED "3rJF0nsRKhFXgc+cWEEGfAIAivykI+B74hltNgeMymA="
#define SERVER "oKD8aJSMYjzz3iIXMD4wIkl5aUPDQb/oC/iPkxdkxt0="
#define VERIFIER "SCRAM-SHA-256$4096:" SALT "$" STORED ":" SERVER

/* --- verifiers ----------------------------------------------------------------------------------- */

Test(scram, P9_a_verifier_reads_back_as_it_was_printed)
{
    struct scram_verifier v;
    struct buffer text = { 0 };

    cr_assert(scram_verifier_read(span_of(VERIFIER), &v));
    cr_expect_eq(v.iterations, 4096);
    cr_expect_eq(v.salt_size, 16);
    scram_verifier_print(&v, &text);
    cr_expect(span_is(buffer_span(&text), VERIFIER));
    buffer_free(&text);
}

Test(scram, P9_a_verifier_fits_the_password_that_it_was_made_of_and_no_other)
{
    struct scram_verifier v;

    cr_assert(scram_verifier_read(span_of(VERIFIER), &v));
    cr_expect(scram_verifier_fits(&v, span_of("app-secret")));
    cr_expect(!scram_verifier_fits(&v, span_of("app-secret ")));
    cr_expect(!scram_verifier_fits(&v, span_of("")));
    v.iterations = 999999999;
    cr_expect(!scram_verifier_fits(&v, span_of("app-secret")), "and nobody computes for hours");
}

Test(scram, P9_what_is_no_verifier_is_not_taken_for_one)
{
    static const char *const rows[] = {
        "",
        "SCRAM-SHA-256$",
        "SCRAM-SHA-1$4096:" SALT "$" STORED ":" SERVER,
        "SCRAM-SHA-256$0:" SALT "$" STORED ":" SERVER,
        "SCRAM-SHA-256$-1:" SALT "$" STORED ":" SERVER,
        "SCRAM-SHA-256$:" SALT "$" STORED ":" SERVER,
        "SCRAM-SHA-256$4096x:" SALT "$" STORED ":" SERVER,
        "SCRAM-SHA-256$4294967297:" SALT "$" STORED ":" SERVER,
        "SCRAM-SHA-256$99999999999999999999999:" SALT "$" STORED ":" SERVER,
        "SCRAM-SHA-256$4096:$" STORED ":" SERVER,
        "SCRAM-SHA-256$4096:" SALT "$" STORED,
        "SCRAM-SHA-256$4096:" SALT "$" STORED ":",
        "SCRAM-SHA-256$4096:" SALT "$" STORED ":" SERVER "=",
        "SCRAM-SHA-256$4096:" SALT "$" STORED ":" SERVER ":",
        "SCRAM-SHA-256$4096:" SALT "$" STORED " :" SERVER,
        "SCRAM-SHA-256$4096:" SALT "$AAAA:" SERVER,
        "md5b52328d7451bfeace80c4b8c338106f9",
    };
    struct scram_verifier v;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect(!scram_verifier_read(span_of(rows[i]), &v), "%s", rows[i]);
    for (size_t cut = 0; cut < strlen(VERIFIER); cut++) {
        struct span s = bytes_exact(span_make(VERIFIER, cut));
        cr_expect(!scram_verifier_read(s, &v), "cut at %zu", cut);
        bytes_free(s);
    }
}

Test(scram, P9_a_salt_that_is_too_long_is_refused_and_not_copied)
{
    struct scram_verifier v;
    unsigned char salt[SCRAM_SALT_MOST + 1] = { 1 };

    for (size_t size = SCRAM_SALT_MOST; size <= SCRAM_SALT_MOST + 1; size++) {
        struct buffer text = { 0 };
        buffer_append_text(&text, "SCRAM-SHA-256$1:");
        scram_encode(&text, salt, size);
        buffer_append_text(&text, "$" STORED ":" SERVER);
        cr_expect_eq(scram_verifier_read(buffer_span(&text), &v), size == SCRAM_SALT_MOST);
        buffer_free(&text);
    }
}

Test(scram, P9_a_mock_verifier_is_stable_for_a_user_and_differs_between_users_and_keys)
{
    struct scram_verifier a, again, b, c;

    scram_verifier_mock(&a, span_of("0123456789abcdef"), span_of("zoe"));
    scram_verifier_mock(&again, span_of("0123456789abcdef"), span_of("zoe"));
    scram_verifier_mock(&b, span_of("0123456789abcdef"), span_of("joe"));
    scram_verifier_mock(&c, span_of("0123456789abcdeg"), span_of("zoe"));
    cr_expect_eq(a.iterations, SCRAM_ITERATIONS);
    cr_expect_eq(a.salt_size, SCRAM_SALT_SIZE);
    cr_expect_eq(memcmp(a.salt, again.salt, SCRAM_SALT_SIZE), 0);
    cr_expect_neq(memcmp(a.salt, b.salt, SCRAM_SALT_SIZE), 0);
    cr_expect_neq(memcmp(a.salt, c.salt, SCRAM_SALT_SIZE), 0);
}

/* --- passwords ----------------------------------------------------------------------------------- */

static const struct {
    const char *password, *verifier;
} prepared[] = {
    { "I\u00adX", "SCRAM-SHA-256$4096:MHZTHgaD5658VanK4c682A==$NcsCiukRgnHsVlCY7GdA+5M3fRY/"
                  "VPNCzJ7MIOne/fs=:i0z+lFMPmPtoV+ZPXLBVwotSjfZ03qVeQLyKrnuDBe0=" },
    { "\u00aa", "SCRAM-SHA-256$4096:rIdRIuDxnULvfSreS15z0w==$al0w625V6Un+"
                "2fZuTg2TkIsD5+IVjFpEbYzLFt6rvgA=:fI5FsYw9fWOXJrGlngW0DSsvVp2z60UjMNHXDWSh9Ic=" },
    { "\u2168", "SCRAM-SHA-256$4096:ahuZ1Pi8vHrZ+X7yncCilQ==$VQFc9AYNZz+"
                "c4sKLmSlTD4U2t+85Hp5VuyKwsPL3iQo=:3wVRvNwB9yxgoR3HDwyJriQhHYVHF1epILTBkQvep2s=" },
    { "\a", "SCRAM-SHA-256$4096:SAkKG+GTzXMN019YkHYGXA==$1vkrPHr2yVPOwNbOP8aCp/"
            "8pRCVow/eqkYAvGdatzJI=:aJW9YtHTTrOajSe4g1NOLVZE83mcpakrMKLZCqaXyOY=" },
    { "\u06271",
      "SCRAM-SHA-256$4096:leJczcR9wP/"
      "+gz9+zCL7MA==$DyzXFHzc426E2wBi9yyLNE4Hx/ldUlFo0BDsqsxoqQ0=:sjmsaFNpj1okAHr5kC7lAOOIsadwP56e9VMriDNIMfk=" },
    { "caf\u00e9", "SCRAM-SHA-256$4096:meWXos6lZP+dVtnT6ftwEw==$VQQCwunCbd+"
                   "PMVFUKZZdP1ZyCoXIJFmCFkiTqhJIQ+0=:0EwnJ7EJsf1qVB1j4iMFYVC5rbGruy4XLXolCvcf1uM=" },
    { "cafe\u0301",
      "SCRAM-SHA-256$4096:wtgW/hazza/"
      "Xr2YJvc/O9w==$2Cxen48mOZYLsAjCRe23dy4rngHpPfqqHhPe5pVfJFo=:wUvPibfofT8gMCCI4f6iGiT3m8Z/l3/vEEVuEInU8Lo=" },
    { "a\u00a0b", "SCRAM-SHA-256$4096:66U3UVLFhr9se55hXOUk3g==$bP9uqDuUK6tMMJk0OTejMBoLU/"
                  "xUAW99uUupO3yWM0s=:+G37jO/UbfJ+LtFjx6RHQdsEB1H00tCp5lChc58Exig=" },
    { "\u0340x\u00e9", "SCRAM-SHA-256$4096:ZVO/js6EPDZBHtoci7AV/w==$CvN+C2oJeNamV5Yhtn3/"
                       "4GB08Dt9t7H/giq35bZyt38=:7Fn+2N4yM/Rg0m8ffbjEl+K07JMZe3byarzEMgRpXdY=" },
    { "\u212b", "SCRAM-SHA-256$4096:JIBPQRHFlZ8TUdQ8FJHqDA==$8XLx9sKBgmkLHptrwNZJOyDQZCekEnOAG47qiIUH2Hg=:"
                "Y7AmTbK5qjua8jpSv2JtKq2EFXhdZgip2Ne8CY+BiyQ=" },
    { "\u200bz", "SCRAM-SHA-256$4096:TmUJ57HRR0QMysbv5nEbOQ==$g5Y9MR31tH0qr8q1WoGzB4/"
                 "5872bS9ooQCny8sV1vU0=:ibOk0g0yMpk+kKSRSC8cN0Nam4UUSd1fG+8ZJ9pWdsY=" },
    { "\u00ad", "SCRAM-SHA-256$4096:eUkIHkUcBdby0bYWl7Mpnw==$K4wxtoyB+SKghOgxi8Li4IuOUSHN3YbjAsnd+e27EOs=:"
                "nAS/wRdhw/VoJZLDuy90HLXi3AoC+o3reK6jHlzy/hs=" },
    { "\u0627\u0628", "SCRAM-SHA-256$4096:99vBkicGBn2hODj+zRWkEg==$mkmk54wTumyvLLw1gIjoL5Bjbf4SJz3Tx6I5gCmmfvE=:"
                      "10dR4iNRai7pSD0063H1oospENbbesxGKOJxjV7WR7E=" },
    { "\u0221", "SCRAM-SHA-256$4096:8JQQMZgGfybxpLnv9a2n2Q==$lvRgho/"
                "LPhqZ4Nd3TnzUqepuvA7Zlh6W29YKw5id74Q=:L5wEm+f3Harkhz3YVsfkbe2tc491nTY4ivJ9drc6Kkw=" },
    { "\ufdfa", "SCRAM-SHA-256$4096:iNNe0glPb3WLTxkdQ376QA==$qDBkGZywFnx5PHDEsu3ki72A9p2QTS/"
                "I1QfICz6UYnY=:+CN4eb/VGazB81yAoY11SOwa2Cb66nPNDYY2317UVJI=" },
};

Test(scram, P9_a_password_of_any_script_is_hashed_as_postgresql_hashes_it)
{
    for (size_t i = 0; i < sizeof prepared / sizeof *prepared; i++) {
        struct scram_verifier v;
        cr_assert(scram_verifier_read(span_of(prepared[i].verifier), &v), "row %zu", i);
        cr_expect(scram_verifier_fits(&v, span_of(prepared[i].password)), "row %zu", i);
    }
}

static const struct {
    const char *name;
    struct span from, to;
} spellings[] = {
    { "nothing", BYTES_INIT(""), BYTES_INIT("") },
    { "ASCII", BYTES_INIT("a b"), BYTES_INIT("a b") },
    { "composed", BYTES_INIT("cafe\u0301"), BYTES_INIT("caf\u00e9") },
    { "no UTF-8", BYTES_INIT("caf\xe9"), BYTES_INIT("caf\xe9") },
    { "cut UTF-8", BYTES_INIT("caf\xc3"), BYTES_INIT("caf\xc3") },
    { "overlong UTF-8", BYTES_INIT("\xc0\xaf"), BYTES_INIT("\xc0\xaf") },
    { "surrogate", BYTES_INIT("\xed\xa0\x80"), BYTES_INIT("\xed\xa0\x80") },
    { "NUL inside", BYTES_INIT("a\0\xc3\xa9"), BYTES_INIT("a\0\xc3\xa9") },
    { "prohibited though harmless when normalized", BYTES_INIT("\u0340\u00e9"), BYTES_INIT("\u0340\u00e9") },
    { "the longest growth", BYTES_INIT("\ufdfa\ufdfa"),
      BYTES_INIT("\u0635\u0644\u0649 \u0627\u0644\u0644\u0647 \u0639\u0644\u064a\u0647 \u0648\u0633\u0644\u0645"
                 "\u0635\u0644\u0649 \u0627\u0644\u0644\u0647 \u0639\u0644\u064a\u0647 \u0648\u0633\u0644\u0645") },
};

Test(scram, P9_a_password_is_prepared_or_else_stays_as_it_is)
{
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        struct buffer out = { 0 };
        struct span from = bytes_exact(spellings[i].from);
        buffer_append_text(&out, "kept");
        scram_prepare(&out, from);
        cr_expect(span_equal(span_make(out.data + 4, out.size - 4), spellings[i].to), "%s", spellings[i].name);
        cr_expect_eq(memcmp(out.data, "kept", 4), 0);
        bytes_free(from);
        buffer_free(&out);
    }
}

/* --- text ---------------------------------------------------------------------------------------- */

Test(scram, P9_base64_is_exact_and_bounded)
{
    static const struct {
        const char *text;
        size_t size; /* 0: refused */
    } rows[] = {
        { "QQ==", 1 },  { "QUI=", 2 }, { "QUJD", 3 },     { "", 0 },         { "Q", 0 },        { "QQ=", 0 },
        { "QQ=A", 0 },  { "====", 0 }, { "Q===", 0 },     { "QU=D", 0 },     { " QQ=", 0 },     { "QQ==\n", 0 },
        { "QQ=\n", 0 }, { "Q-==", 0 }, { "QQ==QQ==", 0 }, { "QUJDQQ==", 4 }, { "QUJDQUI=", 0 },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned char out[4];
        size_t size = 0;
        struct span text = bytes_exact(span_of(rows[i].text));
        bool ok = scram_decode(text, out, sizeof out, &size);
        cr_expect_eq(ok, rows[i].size > 0, "%s", rows[i].text);
        cr_expect(!ok || size == rows[i].size, "%s", rows[i].text);
        bytes_free(text);
    }
}
