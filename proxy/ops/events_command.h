/* `pgatomic events`: each event's story, from the JSON log. */
#ifndef PROXY_OPS_EVENTS_COMMAND_H
#define PROXY_OPS_EVENTS_COMMAND_H

/* argv[0] is the word "events". Reads the file named there, or standard input; writes to standard output. The exit status: 0 done, 1 the file
 * cannot be read, 2 bad usage. */
int events_command(int argc, char **argv);

#endif
