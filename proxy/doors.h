/* Where clients come in: a listener for each address of the config, and how another process gets all of them (P12).
 *
 * For the first worker's thread. */
#ifndef PROXY_DOORS_H
#define PROXY_DOORS_H

#include <stdbool.h>

#include "config/config.h"

/* Opens what `c` lists and is not open. What was inherited is used; with `takeover`, a process of pgatomic that listens at one of the
 * addresses is asked for its sockets first. False: some could not be opened, and the log says why. */
bool doors_open(const struct config *c, bool takeover);
/* What was handed over to be used is used; false: the log says what is not. When all that listens is open. */
bool doors_leave_none_over(void);
/* Makes the takeover final: whoever listened before takes no more clients when this returns. `on_replaced` is called when another process has done
 * the same to this one. False: the place was not left, and the log says why; the doors are still closed without harm to whoever has it. */
bool doors_take_place(void (*on_replaced)(void));
/* Closes those that `c` does not list. */
void doors_close_unwanted(const struct config *c);
/* All of them. What another process has asked for stays open in that one, and keeps its socket file. */
void doors_close(void);
/* After doors_close(), at the end: also what clients of the process that took our place could still send. */
void doors_end(void);

#endif
