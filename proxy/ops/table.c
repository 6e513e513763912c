/* Columns are as wide as the widest of what stands in them, counted in characters. */
#include "proxy/ops/table.h"

#include "protocol/memory.h"
#include "proxy/ops/visible.h"

enum { HEADING = -1 };

static char *cell(const PGresult *result, int row, int column)
{
    struct buffer b = { 0 };
    visible_append(&b, row == HEADING ? PQfname(result, column) : PQgetvalue(result, row, column));
    buffer_append_u8(&b, '\0');
    return b.data;
}

static size_t width_of(const char *text)
{
    size_t width = 0;
    for (const char *c = text; *c != '\0'; c++)
        width += ((unsigned char)*c & 0xc0) != 0x80;
    return width;
}

static size_t column_width(const PGresult *result, int column)
{
    size_t widest = 0;
    for (int row = HEADING; row < PQntuples(result); row++) {
        char *text = cell(result, row, column);
        size_t width = width_of(text);
        widest = width > widest ? width : widest;
        free(text);
    }
    return widest;
}

static void print_row(const PGresult *result, int row, int columns, const size_t *widths, FILE *out)
{
    size_t owed = 0; /* spaces, not written at the end of a line */
    for (int column = 0; column < columns; column++) {
        char *text = cell(result, row, column);
        if (text[0] != '\0')
            fprintf(out, "%*s%s", (int)owed, "", text);
        owed = (text[0] != '\0' ? 0 : owed) + widths[column] - width_of(text) + 2;
        free(text);
    }
    fputc('\n', out);
}

void table_print(const PGresult *result, int columns, FILE *out)
{
    size_t *widths = or_abort(calloc((size_t)columns + 1, sizeof *widths));
    for (int column = 0; column < columns; column++)
        widths[column] = column_width(result, column);
    for (int row = HEADING; row < PQntuples(result); row++)
        print_row(result, row, columns, widths, out);
    free(widths);
}
