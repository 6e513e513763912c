#include "proxy/auth/auth.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "protocol/memory.h"

static void set_text(char **text, const char *format, va_list arguments)
{
    free(*text);
    if (vasprintf(text, format, arguments) < 0)
        abort();
}

void auth_fault_say(struct auth_fault *f, const char *sqlstate, const char *format, ...)
{
    va_list arguments;
    f->sqlstate = sqlstate;
    va_start(arguments, format);
    set_text(&f->message, format, arguments);
    va_end(arguments);
}

void auth_fault_detail(struct auth_fault *f, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    set_text(&f->detail, format, arguments);
    va_end(arguments);
}

void auth_fault_free(struct auth_fault *f)
{
    free(f->message);
    free(f->detail);
    *f = (struct auth_fault){ 0 };
}
