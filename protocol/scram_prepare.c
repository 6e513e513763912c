/* libidn does the work. Its own profile normalizes first and prohibits then; PostgreSQL prohibits what was typed, and normalizes last. The two
 * differ for the few characters that normalization replaces by harmless ones, so the steps are put into PostgreSQL's order. */
#include "protocol/scram_prepare.h"

#include <assert.h>
#include <stringprep.h>

#include "protocol/encoding.h"

enum {
    MOST_STEPS = 32,
    MOST_GROWTH = 12 /* of the bytes of a character, when it is replaced by those that it is made of */
};

static bool is_ascii(struct span s)
{
    for (size_t i = 0; i < s.size; i++)
        if ((unsigned char)s.data[i] >= 0x80)
            return false;
    return true;
}

static void order_steps(Stringprep_profile steps[MOST_STEPS])
{
    size_t count = 0;
    for (int normalizes = 0; normalizes <= 1; normalizes++)
        for (const Stringprep_profile *s = stringprep_saslprep; s->operation != 0; s++)
            if ((s->operation == STRINGPREP_NFKC) == normalizes) {
                assert(count + 1 < MOST_STEPS);
                steps[count++] = *s;
            }
    steps[count] = (Stringprep_profile){ 0 };
}

/* False: SASLprep refuses it. `text` has room for `size` bytes. */
static bool prepare(char *text, size_t size)
{
    Stringprep_profile steps[MOST_STEPS];
    order_steps(steps);
    return stringprep(text, size, STRINGPREP_NO_UNASSIGNED, steps) == STRINGPREP_OK && text[0] != '\0';
}

void scram_prepare(struct buffer *out, struct span password)
{
    size_t start = out->size;
    bool prepares =
        password.size <= SCRAM_PASSWORD_MOST && !is_ascii(password) && encoding_to_utf8(encoding_utf8(), password, out);
    if (prepares) {
        size_t room = password.size * MOST_GROWTH + 1;
        buffer_reserve(out, room)[0] = '\0'; /* behind the copy of the password */
        if (prepare(out->data + start, password.size + room)) {
            out->size = start + strlen(out->data + start);
            return;
        }
        out->size = start;
    }
    buffer_append_span(out, password);
}
