/* The command line. */
#include <getopt.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "proxy/check_files.h"
#include "proxy/ops/events_command.h"
#include "proxy/ops/outbox_command.h"
#include "proxy/run.h"
#include "proxy/version.h"

enum { EXIT_BAD_USAGE = 2 };

static const char usage[] =
    "usage: pgatomic [run] -c FILE [--takeover] [--require-upstream]\n"
    "       pgatomic run --upstream CONNINFO [--listen ADDRESS] [--mode MODE --end commit|rollback]\n"
    "       pgatomic check -c FILE\n"
    "       pgatomic events [-f] [--channel C] [--state S] [--request ID] [FILE]\n"
    "       pgatomic outbox install|list|retry|purge CONNINFO\n"
    "       pgatomic --version | --help\n";

static const char help[] =
    "\n"
    "  run      run the proxy in the foreground (SIGTERM: drain, SIGINT: stop now, SIGHUP: reload,\n"
    "           SIGUSR1: pause, SIGUSR2: resume)\n"
    "  check    read the config and print it as understood, or all of its errors\n"
    "  events   read the JSON log (or standard input) and show each event's story\n"
    "  outbox   the durable events of a database (pgatomic outbox --help)\n"
    "\n"
    "  -c, --config FILE       the config\n"
    "  --upstream CONNINFO     no config: one database \"*\" there, one route\n"
    "  --listen ADDRESS        with --upstream: where (127.0.0.1:6432)\n"
    "  --mode MODE             with --upstream: autocommit, atomic, required or sandbox\n"
    "  --end END               with --mode atomic: what an unmarked end of a request does, commit or rollback\n"
    "  -R, --takeover          take the place of the pgatomic that listens there: it finishes its requests, and ends\n"
    "  --require-upstream      exit with status 1 when the upstream cannot be reached at the start\n"
    "\n"
    "Exit status: 0 done, 1 could not run, 2 bad usage or bad config.\n";

static int bad_usage(const char *why)
{
    if (why != NULL)
        fprintf(stderr, "pgatomic: %s\n", why);
    fputs(usage, stderr);
    return EXIT_BAD_USAGE;
}

struct options {
    const char *config, *upstream, *listen, *mode, *end;
    struct run_options run;
};

/* False, and it has been said why: they are not right. */
static bool read_options(int argc, char **argv, struct options *out)
{
    static const struct option names[] = {
        { "config", required_argument, NULL, 'c' }, { "upstream", required_argument, NULL, 'u' },
        { "listen", required_argument, NULL, 'l' }, { "mode", required_argument, NULL, 'm' },
        { "end", required_argument, NULL, 'e' },    { "require-upstream", no_argument, NULL, 'r' },
        { "takeover", no_argument, NULL, 'R' },     { NULL, 0, NULL, 0 },
    };
    int option;
    while ((option = getopt_long(argc, argv, "c:R", names, NULL)) != -1) {
        switch (option) {
        case 'c':
            out->config = optarg;
            break;
        case 'u':
            out->upstream = optarg;
            break;
        case 'l':
            out->listen = optarg;
            break;
        case 'm':
            out->mode = optarg;
            break;
        case 'e':
            out->end = optarg;
            break;
        case 'r':
            out->run.require_upstream = true;
            break;
        case 'R':
            out->run.takeover = true;
            break;
        default: /* getopt has said what is wrong */
            bad_usage(NULL);
            return false;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "pgatomic: unexpected argument: %s\n", argv[optind]);
        bad_usage(NULL);
        return false;
    }
    return true;
}

static int run_command(int argc, char **argv)
{
    struct options o = { 0 };
    if (!read_options(argc, argv, &o))
        return EXIT_BAD_USAGE;
    if ((o.config == NULL) == (o.upstream == NULL))
        return bad_usage("run needs either -c FILE or --upstream");
    if (o.config != NULL && (o.listen != NULL || o.mode != NULL || o.end != NULL))
        return bad_usage("--listen, --mode and --end go with --upstream; with -c they are in the file");
    struct config *c = o.config != NULL ? config_read(o.config, stderr)
                                        : config_from_options(o.upstream, o.listen, o.mode, o.end, stderr);
    return c != NULL ? run_proxy(c, &o.run) : EXIT_BAD_USAGE;
}

static int check_command(int argc, char **argv)
{
    struct options o = { 0 };
    if (!read_options(argc, argv, &o))
        return EXIT_BAD_USAGE;
    if (o.config == NULL || o.upstream != NULL || o.listen != NULL || o.mode != NULL || o.end != NULL ||
        o.run.require_upstream || o.run.takeover)
        return bad_usage("check needs -c FILE, and nothing else");
    struct config *c = config_read(o.config, stderr);
    if (c == NULL)
        return EXIT_BAD_USAGE;
    bool is_fine = check_files(c, stderr);
    if (is_fine)
        config_print(c, stdout);
    config_release(c);
    return is_fine ? EXIT_SUCCESS : EXIT_BAD_USAGE;
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    /* A thread that hangs in somebody's handshake may outlive main(): what it uses stays until the process is gone. */
    OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
    if (strcmp(command, "run") == 0)
        return run_command(argc - 1, argv + 1);
    if (strcmp(command, "check") == 0)
        return check_command(argc - 1, argv + 1);
    if (strcmp(command, "events") == 0)
        return events_command(argc - 1, argv + 1);
    if (strcmp(command, "outbox") == 0)
        return outbox_command(argc - 1, argv + 1);
    if (strcmp(command, "--version") == 0) {
        puts("pgatomic " PGATOMIC_VERSION);
        return EXIT_SUCCESS;
    }
    if (strcmp(command, "--help") == 0) {
        printf("%s%s", usage, help);
        return EXIT_SUCCESS;
    }
    if (command[0] == '-')
        return run_command(argc, argv);
    if (command[0] == '\0')
        return bad_usage("no command");
    fprintf(stderr, "pgatomic: unknown command: %s\n", command);
    return bad_usage(NULL);
}
