/* Text of unknown origin, for a terminal. */
#ifndef PROXY_OPS_VISIBLE_H
#define PROXY_OPS_VISIBLE_H

#include "protocol/buffer.h"

/* Appends `text` so that it stays on its line and says nothing to the terminal: C0, DEL and C1 are escaped, and where it is
 * not UTF-8, whatever is not ASCII. */
void visible_append(struct buffer *b, const char *text);

#endif
