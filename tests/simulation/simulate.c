/* Holds conversations by the hundred thousand.
 *
 *   simulate [FIRST_SEED [COUNT]]     all of them; the first that fails is made shorter and told
 *   simulate --tell SEED [WITHOUT]    one of them, told whatever happens; WITHOUT is a mask of turns to leave out */
#include <stdlib.h>
#include <unistd.h>

#include "tests/simulation/conversation.h"

/* Leaves out one turn after another as long as it still fails. */
static uint32_t shorten(uint64_t seed)
{
    uint32_t without = 0;
    for (unsigned i = CONVERSATION_TURNS_MAX; i-- > 0;)
        if (!converse(seed, without | UINT32_C(1) << i, NULL).ok)
            without |= UINT32_C(1) << i;
    return without;
}

static int tell(uint64_t seed, uint32_t without)
{
    printf("# seed %llu: %s\n", (unsigned long long)seed, scenario_get((unsigned)(seed % scenario_count()))->name);
    struct verdict v = converse(seed, without, stdout);
    printf("%s\n", v.ok ? "# all is as promised" : v.why);
    return !v.ok;
}

int main(int argc, char **argv)
{
    scenario_read_all();
    if (argc > 2 && strcmp(argv[1], "--tell") == 0)
        return tell(strtoull(argv[2], NULL, 10), argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 0) : 0);
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1,
             count = argc > 2 ? strtoull(argv[2], NULL, 10) : 100000;
    for (uint64_t seed = first; seed < first + count; seed++) {
        if (converse(seed, 0, NULL).ok)
            continue;
        uint32_t without = shorten(seed);
        tell(seed, without);
        printf("to see it again: %s --tell %llu 0x%x\n", argv[0], (unsigned long long)seed, without);
        printf("%llu passed, 1 failed\n", (unsigned long long)(seed - first));
        return 1;
    }
    printf("%llu passed, 0 failed\n", (unsigned long long)count);
    scenario_free_all();
    return 0;
}
