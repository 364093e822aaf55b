/*
 * backoff.c - how soon a dead worker is replaced
 *
 *   ready for a second, then dead    an accident: at once, and everything before is forgotten
 *   dead before that                 0.1, 0.2, 0.4 ... 5 s; the tenth time within a minute we stop trying
 */
#include "platform/sys.h"

#define FIRST_MS 100
#define LONGEST_MS 5000
#define WINDOW_MS 60000

static int delay(unsigned deaths)
{
    int ms = FIRST_MS;

    while (--deaths && ms < LONGEST_MS)
        ms *= 2;
    return ms < LONGEST_MS ? ms : LONGEST_MS;
}

int backoff_died(struct backoff *b, uint64_t now_ms, bool good)
{
    if (good) {
        b->n = 0;
        return 0;
    }
    b->at_ms[b->n++ % BACKOFF_DEATHS] = now_ms;
    if (b->n >= BACKOFF_DEATHS && now_ms - b->at_ms[b->n % BACKOFF_DEATHS] <= WINDOW_MS) /* the next slot holds the tenth last */
        return BACKOFF_GIVE_UP;
    return delay(b->n);
}
