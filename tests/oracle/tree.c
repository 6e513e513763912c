#include "tests/oracle/tree.h"

#include <stdlib.h>

bool tree_eat(const char **json, const char *text)
{
    size_t size = strlen(text);
    if (strncmp(*json, text, size) != 0)
        return false;
    *json += size;
    return true;
}

void tree_eat_string(const char **json, struct buffer *out)
{
    static const char letters[] = "bfnrt", values[] = "\b\f\n\r\t";
    for (; **json && **json != '"'; ++*json) {
        char c = **json;
        if (c == '\\') {
            c = *++*json;
            const char *letter = strchr(letters, c);
            if (c == 'u') {
                char digits[5] = "";
                memcpy(digits, *json + 1, 4);
                c = (char)strtoul(digits, NULL, 16); /* control characters only */
                *json += 4;
            } else if (letter) {
                c = values[letter - letters];
            }
        }
        if (out)
            buffer_append(out, &c, 1);
    }
    if (**json)
        ++*json;
}

void tree_eat_number(const char **json)
{
    while (**json == '-' || (**json >= '0' && **json <= '9'))
        ++*json;
}

void tree_eat_value(const char **json)
{
    size_t depth = 0;
    do {
        char c = *(*json)++;
        if (c == '"')
            tree_eat_string(json, NULL);
        else if (c == '{' || c == '[')
            depth++;
        else if (c == '}' || c == ']')
            depth--;
    } while (**json && (depth > 0 || !strchr(",]}", **json)));
}

void tree_eat_location(const char **json)
{
    if (tree_eat(json, ",\"location\":"))
        tree_eat_number(json);
}

const char *tree_behind(const char *json, const char *key)
{
    const char *found = strstr(json, key);
    return found ? found + strlen(key) : NULL;
}

void tree_append_field(struct buffer *out, const char *json, const char *key)
{
    const char *string = tree_behind(json, key);
    buffer_append_text(out, " ");
    if (string)
        tree_eat_string(&string, out);
    else
        buffer_append_text(out, "-");
}
