/* Time.
 *
 * Wall clocks are put forward and back, by people and by programs; what waits for a deadline, and what is measured, must not notice. So all
 * times inside of pgatomic are of a clock of its own, which began with the process at what the wall clock said then, and which nobody can put.
 * It becomes the wall clock's time where it is shown or sent, or compared with a time that came from outside.
 *
 * From any thread. */
#ifndef PROXY_CLOCK_H
#define PROXY_CLOCK_H

#include <stdint.h>

/* µs since 1970. Never less than before. */
uint64_t clock_now_us(void);
/* What the wall clock, as it is set now, says of such a time. µs since 1970. */
uint64_t clock_to_wall_us(uint64_t now_us);
/* The other way round. */
uint64_t clock_from_wall_us(uint64_t wall_us);

#endif
