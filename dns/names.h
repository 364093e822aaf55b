/*
 * names.h - lists of domain patterns (profile section 2.2): hosts keys, fake-ip-filter
 */
#ifndef DNS_NAMES_H
#define DNS_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct names;
struct names *names_new(void);
void names_free(struct names *n);
/* a.b | *.a.b | x.*.b | * | .a.b | +.a.b -> value. 0; -EINVAL for no pattern; -ENOMEM. A later equal pattern is ignored. */
int names_add(struct names *n, const char *pattern, void *value);
/* The value of the most specific pattern that matches (label by label from the right: literal, then *, then any depth), or NULL. */
void *names_find(const struct names *n, const char *name);

#endif
