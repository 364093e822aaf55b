/*
 * regex.h - regular expressions of profiles: PCRE2, whole Unicode, letter case ignored, bounded time
 *
 * A backtracking engine can be made to take for ever by one pattern and one name: `(a+)+$`, or `^(.+\.)*zh\.okaapps\.com$` of a public
 * list. So a match may take so many steps and not more, many times what any pattern of the public lists needs to come to its end on the
 * longest name (147), and a match that is not found by then is none: some microseconds.
 */
#ifndef RULES_REGEX_H
#define RULES_REGEX_H

#include <stdbool.h>
#include <stddef.h>

/* What matching needs beside the pattern. One thread at a time. */
struct regex_room;
struct regex_room *regex_room_new(void); /* NULL without memory */
void regex_room_free(struct regex_room *r);

struct regex;
/* NULL: not a pattern (why gets the reason), or no memory (why is empty). */
struct regex *regex_new(const char *pattern, size_t len, char why[128]);
void regex_free(struct regex *r);
/* Is there a match anywhere? */
bool regex_matches(const struct regex *r, struct regex_room *room, const char *s, size_t len);

/* The longest piece of fixed ASCII text, lower case, that every match contains; its length, 0 = none is known. Rather one that is not the
 * end of the name (".com"). out has size bytes. */
size_t regex_literal(const char *pattern, size_t len, char *out, size_t size);

#endif
