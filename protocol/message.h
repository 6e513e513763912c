/* Typed views of the messages that pgatomic looks into, and builders of those it makes.
 *
 * Views borrow from the frame. Every message_read_… returns false when the body is not what the protocol documentation
 * says ("Message Formats"); nothing is read past its end. Builders append one whole message. */
#ifndef PROTOCOL_MESSAGE_H
#define PROTOCOL_MESSAGE_H

#include "protocol/buffer.h"
#include "protocol/frame.h"
#include "protocol/wire.h"

/* Of the secret that a CancelRequest shows, in bytes (P1): fixed at 4 before protocol 3.2. */
enum { MESSAGE_SECRET_MIN = 4, MESSAGE_SECRET_MAX = 256 };

/* --- frontend ---------------------------------------------------------------------------------- */

struct message_parse {
    struct span name, text;
    uint16_t type_count;
    struct span types; /* type_count times 4 bytes */
};

struct message_bind {
    struct span portal, statement;
    struct span rest; /* formats, values and result formats: see message_bind_parameter */
};

struct message_execute {
    struct span portal;
    uint32_t max_rows; /* 0: no limit */
};

struct message_named { /* Describe and Close */
    char kind;         /* 'S' statement or 'P' portal */
    struct span name;
};

struct message_parameter {
    bool null, binary;
    struct span value;
};

bool message_read_query(struct span body, struct span *text);
bool message_read_parse(struct span body, struct message_parse *out);
/* Needs only the head of the body: the two names have to be in it. */
bool message_read_bind(struct span body, struct message_bind *out);
bool message_read_execute(struct span body, struct message_execute *out);
bool message_read_named(struct span body, struct message_named *out);
/* The 1-based parameter `number` of a whole Bind body; false when it has none, or is malformed anywhere. */
bool message_bind_parameter(const struct message_bind *bind, unsigned number, struct message_parameter *out);
/* The format code of the first result column of a whole Bind body: 1 binary, else 0, also for a malformed one. */
uint16_t message_bind_result_format(const struct message_bind *bind);

void message_add_query(struct buffer *b, struct span text);
void message_add_parse(struct buffer *b, struct span name, struct span text);       /* no parameter types */
void message_add_bind(struct buffer *b, struct span portal, struct span statement); /* no parameters, text results */
void message_add_execute(struct buffer *b, struct span portal, uint32_t max_rows);
void message_add_describe(struct buffer *b, char kind, struct span name);
void message_add_close(struct buffer *b, char kind, struct span name);
void message_add_sync(struct buffer *b);
void message_add_flush(struct buffer *b);
void message_add_terminate(struct buffer *b);
void message_add_copy_fail(struct buffer *b, struct span reason);

/* --- backend ----------------------------------------------------------------------------------- */

/* ErrorResponse and NoticeResponse: the fields that pgatomic reads; empty when absent. */
struct message_error {
    struct span severity; /* 'V', not localised; falls back to 'S' */
    struct span sqlstate; /* 'C' */
    struct span message;  /* 'M' */
    struct span detail;   /* 'D' */
    struct span hint;     /* 'H' */
    struct span position; /* 'P' */
    struct span routine;  /* 'R': where the server's source raises it, in no language */
};

bool message_read_error(struct span body, struct message_error *out);
bool message_read_command_complete(struct span body, struct span *tag);
bool message_read_parameter_status(struct span body, struct span *name, struct span *value);
/* BackendKeyData (P1): false unless the secret has 4 to 256 bytes. */
bool message_read_key_data(struct span body, uint32_t *process_id, struct span *secret);

/* What goes into an ErrorResponse or NoticeResponse of our own; NULL or empty fields are left out. */
struct message_fault {
    const char *severity; /* "ERROR", "FATAL", "WARNING", "NOTICE" */
    const char *sqlstate;
    struct span message, detail, hint;
};

void message_add_error(struct buffer *b, const struct message_fault *fault);
void message_add_notice(struct buffer *b, const struct message_fault *fault);
/* A copy of an ErrorResponse or NoticeResponse (whole frame) with `field` set to `value`, added when it was absent;
 * an empty value takes the field away. All other fields stay, in their order, known or not; a malformed message is
 * copied as it is. */
void message_add_error_with(struct buffer *b, const struct frame *error, char field, struct span value);
void message_add_command_complete(struct buffer *b, struct span tag);
void message_add_ready(struct buffer *b, char status); /* 'I', 'T' or 'E' */
void message_add_parameter_status(struct buffer *b, struct span name, struct span value);
/* RowDescription with one column that belongs to no table; `format` 0 text, 1 binary. */
void message_add_row_description(struct buffer *b, struct span name, uint32_t type_oid, int16_t type_size,
                                 uint16_t format);
void message_add_data_row(struct buffer *b, struct span value); /* one column, not NULL */
void message_add_parameter_description(struct buffer *b, const uint32_t *oids, uint16_t count);
/* Starts and ends a message that is built field by field. */
size_t message_begin(struct buffer *b, char type);
void message_end(struct buffer *b, size_t start);
/* A message without a body: '1', '2', '3', 'n', 's', 'I', … */
void message_add_empty(struct buffer *b, char type);

/* --- authentication ---------------------------------------------------------------------------- */

/* What the body of an 'R' message begins with. */
enum message_authentication {
    AUTHENTICATION_OK = 0,
    AUTHENTICATION_CLEARTEXT = 3,
    AUTHENTICATION_MD5 = 5,
    AUTHENTICATION_SASL = 10,
    AUTHENTICATION_SASL_CONTINUE = 11,
    AUTHENTICATION_SASL_FINAL = 12
};

/* `rest`: what follows: md5's salt, a list of mechanisms, SASL data. */
bool message_read_authentication(struct span body, uint32_t *kind, struct span *rest);
/* The next name of AuthenticationSASL's list; *at starts at 0. False at the end, or where it is damaged. */
bool message_next_mechanism(struct span list, size_t *at, struct span *name);
/* PasswordMessage: one string. */
bool message_read_password(struct span body, struct span *password);
/* SASLInitialResponse; a mechanism that is sent without a response is none that we know. */
bool message_read_sasl_initial(struct span body, struct span *mechanism, struct span *response);

void message_add_authentication(struct buffer *b, uint32_t kind, struct span rest);
void message_add_password(struct buffer *b, struct span password);
void message_add_sasl_initial(struct buffer *b, struct span mechanism, struct span response);
void message_add_sasl_response(struct buffer *b, struct span response);

/* --- startup ----------------------------------------------------------------------------------- */

enum startup_kind { STARTUP_SESSION, STARTUP_CANCEL, STARTUP_SSL, STARTUP_GSSENC };

struct message_startup {
    enum startup_kind kind;
    uint16_t major, minor;  /* STARTUP_SESSION */
    struct span parameters; /* STARTUP_SESSION: name NUL value NUL … NUL; see startup_parameter */
    uint32_t process_id;    /* STARTUP_CANCEL */
    struct span secret;     /* STARTUP_CANCEL: 4 to 256 bytes */
};

/* The packet at the start of `input`, with `limit` as the greatest length allowed (limits.startup). FRAME_BAD: a
 * length that is impossible, an unknown major version, or parameters that are not pairs of strings, each said as
 * early as the bytes show it; once 8 bytes are there, out->major and out->minor are what was asked for. *size gets
 * its length in bytes, for FRAME_OK. */
enum frame_result message_read_startup(struct span input, size_t limit, struct message_startup *out, size_t *size);
/* Walks the parameters: *at starts at 0; false at the end. */
bool startup_parameter(struct span parameters, size_t *at, struct span *name, struct span *value);
/* The last value that is given for `name`, as the server takes it. */
bool startup_find(struct span parameters, const char *name, struct span *value);
/* Starts and ends a StartupMessage that is built parameter by parameter (buffer_append_string twice each). */
size_t message_begin_startup(struct buffer *b, uint16_t major, uint16_t minor);
void message_end_startup(struct buffer *b, size_t start);
void message_add_ssl_request(struct buffer *b);
void message_add_cancel(struct buffer *b, uint32_t process_id, struct span secret); /* 4 to 256 bytes */

#endif
