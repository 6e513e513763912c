/* `pgatomic outbox`: the outbox of a database, by hand. */
#ifndef PROXY_OPS_OUTBOX_COMMAND_H
#define PROXY_OPS_OUTBOX_COMMAND_H

/* argv[0] is the word "outbox". Writes to standard output. The exit status: 0 done, 1 the database refused or could not be reached, 2 bad
 * usage. */
int outbox_command(int argc, char **argv);

#endif
