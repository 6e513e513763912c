#include <criterion/criterion.h>

#include "proxy/session/attributes.h"

Test(attributes, clients_of_the_same_words_share_them)
{
    struct shared_attributes all = { 0 };
    struct request_attributes words = { NULL, "web", "shop", "app" };
    const struct request_attributes *one = attributes_share(&all, &words), *same = attributes_share(&all, one);
    cr_assert_eq(one, same);
    cr_assert(one != &words && one->application != words.application, "they are copies");

    attributes_release(&all, one);
    cr_assert_str_eq(same->application, "web");
    cr_assert_null(same->label);
    attributes_release(&all, same);
    cr_assert_null(all.tree, "nothing stays when the last has gone");
}

Test(attributes, one_word_of_difference_makes_others_of_them)
{
    static const struct request_attributes rows[] = {
        { NULL, "web", "shop", "app" }, { "/a/", "web", "shop", "app" }, { "", "web", "shop", "app" },
        { NULL, "job", "shop", "app" }, { NULL, "web", "mail", "app" },  { NULL, "web", "shop", "root" },
    };
    enum { COUNT = sizeof rows / sizeof *rows };
    struct shared_attributes all = { 0 };
    const struct request_attributes *got[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        got[i] = attributes_share(&all, &rows[i]);
        cr_assert_str_eq(got[i]->application, rows[i].application);
        cr_assert_eq(got[i]->label != NULL, rows[i].label != NULL);
        for (size_t j = 0; j < i; j++)
            cr_assert_neq(got[i], got[j]);
    }
    for (size_t i = 0; i < COUNT; i++)
        attributes_release(&all, got[i]);
    cr_assert_null(all.tree);
}

Test(attributes, without_a_table_they_are_shared_with_nobody)
{
    struct request_attributes words = { "/a/", "web", "shop", "app" };
    const struct request_attributes *one = attributes_share(NULL, &words), *other = attributes_share(NULL, &words);
    cr_assert_neq(one, other);
    cr_assert_str_eq(other->label, "/a/");
    attributes_release(NULL, one);
    attributes_release(NULL, other);
}
