/* One schema of its own, and a list sorted by name: a login looks for one of perhaps thousands.
 *
 * A password that begins as a verifier is one. Taken for a plain password when it is damaged, it would let in whoever can read the
 * damaged verifier; so it is refused instead. */
#include "config/users.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "config/read.h"
#include "config/secret.h"
#include "config/source.h"

enum { LONGEST_NAME = 63, LONGEST_PASSWORD = 1000, KEY_DIGITS = 43, MOST_ITERATION_DIGITS = 9, MD5_DIGITS = 32 };

static const char scram[] = "SCRAM-SHA-256$", md5[] = "md5";

struct user {
    const char *name;
    const char *password;
};

struct users {
    struct user *list; /* sorted by name */
    size_t count;
    unsigned usual_iterations;
    struct memory memory;
};

static const struct option user_options[] = {
    { "password", OPTION_SECRET, .offset = offsetof(struct user, password), .size = sizeof(const char *),
      .required = true },
    { .name = NULL },
};
static const struct option no_options[] = { { .name = NULL } };
static const struct block blocks[] = {
    { "user", BLOCK_TITLED, .options = user_options, .item_size = sizeof(struct user),
      .title_offset = offsetof(struct user, name), .list_offset = offsetof(struct users, list),
      .count_offset = offsetof(struct users, count) },
    { .name = NULL },
};
static const struct schema schema = { no_options, blocks, "user \"NAME\" { password = \"…\" }" };

/* Past `least` or more digits of base64, and their padding; NULL when they are not there. */
static const char *skip_base64(const char *text, size_t least)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t size = strspn(text, digits), padding = strspn(text + size, "=");

    return size >= least && padding <= 2 && (size + padding) % 4 == 0 ? text + size + padding : NULL;
}

/* The 32 bytes of a SHA-256. */
static const char *skip_key(const char *text)
{
    const char *end = skip_base64(text, KEY_DIGITS);
    return end != NULL && end - text == KEY_DIGITS + 1 && end[-1] == '=' ? end : NULL;
}

/* <iterations>:<salt>$<StoredKey>:<ServerKey> */
static bool is_verifier(const char *text)
{
    size_t digits = strspn(text, "0123456789");

    if (digits == 0 || digits > MOST_ITERATION_DIGITS || text[0] == '0' || text[digits] != ':')
        return false;
    text = skip_base64(text + digits + 1, 1);
    if (text == NULL || *text++ != '$')
        return false;
    text = skip_key(text);
    if (text == NULL || *text++ != ':')
        return false;
    text = skip_key(text);
    return text != NULL && *text == '\0';
}

/* How many of them stand behind "md5", if there is nothing else; 0: there is. */
static size_t count_md5_digits(const char *text, const char *digits)
{
    if (strncmp(text, md5, strlen(md5)) != 0)
        return 0;
    size_t count = strspn(text + strlen(md5), digits);
    return text[strlen(md5) + count] == '\0' ? count : 0;
}

bool users_password_is_md5(const char *password)
{
    return count_md5_digits(password, "0123456789abcdef") == MD5_DIGITS;
}

/* So many digits and nothing else are no word that somebody has thought of. */
static bool is_damaged_md5(const char *password)
{
    return count_md5_digits(password, "0123456789abcdefABCDEF") >= MD5_DIGITS / 2 && !users_password_is_md5(password);
}

static void check_user(const struct user *user, struct tree *block, struct config_errors *errors)
{
    int line = tree_line(block, "password");

    if (strlen(user->name) > LONGEST_NAME)
        errors_add(errors, tree_line(block, ""), "user: expected a name of at most 63 bytes");
    if (user->password == NULL)
        return;
    if (*user->password == '\0' || strlen(user->password) > LONGEST_PASSWORD)
        errors_add(errors, line, "password: expected from 1 to 1000 bytes");
    if (strncmp(user->password, scram, strlen(scram)) == 0 && !is_verifier(user->password + strlen(scram)))
        errors_add(errors, line,
                   "password: this verifier is damaged: expected SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey");
    if (is_damaged_md5(user->password))
        errors_add(errors, line, "password: this verifier is damaged: expected md5 and 32 hex digits in lower case");
}

static void check_users(const struct users *u, struct tree *file, struct config_errors *errors)
{
    for (size_t i = 0; i < u->count; i++)
        check_user(&u->list[i], tree_block(file, "user", i), errors);
}

static int compare_names(const void *left, const void *right)
{
    return strcmp(((const struct user *)left)->name, ((const struct user *)right)->name);
}

/* 0: it is no verifier. */
static unsigned iterations_of(const struct user *user)
{
    bool is_one = strncmp(user->password, scram, strlen(scram)) == 0;
    return is_one ? (unsigned)strtoul(user->password + strlen(scram), NULL, 10) : 0;
}

static int compare_numbers(const void *left, const void *right)
{
    unsigned a = *(const unsigned *)left, b = *(const unsigned *)right;

    return (a > b) - (a < b);
}

/* The longest run of equal ones, in order. */
static unsigned most_frequent(const unsigned *numbers, size_t count)
{
    size_t longest = 0, run = 0;
    unsigned found = 0;

    for (size_t i = 0; i < count; i++) {
        run = i > 0 && numbers[i] == numbers[i - 1] ? run + 1 : 1;
        if (run > longest) {
            longest = run;
            found = numbers[i];
        }
    }
    return found;
}

static unsigned find_usual_iterations(const struct users *u)
{
    unsigned *numbers = calloc(u->count + 1, sizeof *numbers);
    size_t count = 0;
    assert(numbers != NULL);

    for (size_t i = 0; i < u->count; i++) {
        numbers[count] = iterations_of(&u->list[i]);
        count += numbers[count] > 0;
    }
    qsort(numbers, count, sizeof *numbers, compare_numbers);
    unsigned usual = most_frequent(numbers, count);
    free(numbers);
    return usual;
}

/* Takes `text`. */
static void read_text(struct users *u, char *text_take, struct config_errors *errors)
{
    struct tree *file = text_take != NULL ? tree_parse(text_take, &schema, errors) : NULL;

    free(text_take);
    if (file == NULL)
        return;
    read_schema(&schema, file, u, &u->memory, errors);
    check_users(u, file, errors);
    tree_free(file);
    qsort(u->list, u->count, sizeof *u->list, compare_names);
}

struct users *users_read(const char *file, FILE *errors_out)
{
    struct config_errors errors = { .file = file, .hides_words = true };
    struct users *u = calloc(1, sizeof *u);
    struct variables variables = { NULL };
    assert(u != NULL);

    read_text(u, source_read(file, &variables, &u->memory, &errors), &errors);
    bool failed = errors.count > 0;
    u->usual_iterations = failed ? 0 : find_usual_iterations(u);
    errors_print(&errors, errors_out);
    errors_free(&errors);
    if (!failed)
        return u;
    users_free(u);
    return NULL;
}

const char *users_password(const struct users *u, const char *name)
{
    struct user wanted = { .name = name };
    const struct user *found = bsearch(&wanted, u->list, u->count, sizeof *u->list, compare_names);

    return found != NULL ? found->password : NULL;
}

size_t users_count(const struct users *u)
{
    return u->count;
}

const char *users_name(const struct users *u, size_t index)
{
    return u->list[index].name;
}

unsigned users_usual_iterations(const struct users *u)
{
    return u->usual_iterations;
}

bool users_are_mostly_plain(const struct users *u)
{
    size_t verifiers = 0;

    for (size_t i = 0; i < u->count; i++)
        verifiers += strncmp(u->list[i].password, scram, strlen(scram)) == 0;
    return verifiers * 2 < u->count;
}

void users_free(struct users *u)
{
    if (u == NULL)
        return;
    memory_free(&u->memory);
    free(u);
}
