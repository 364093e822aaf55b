/*
 * base64.h - base64 as strangers write it (RFC 4648 sections 4 and 5)
 */
#ifndef CORE_BASE64_H
#define CORE_BASE64_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Room that surely holds what len characters decode to. */
#define BASE64_ROOM(len) ((len) / 4 * 3 + 3)

/* Decodes the standard and the URL alphabet, padded or not, with blanks and line breaks anywhere; nothing may follow the padding. Returns how
 * many bytes went to out, -EINVAL when it is no base64, or -EMSGSIZE when they do not fit in `size`. s and out may be the same memory. */
ssize_t base64_decode(const char *s, size_t len, uint8_t *out, size_t size);

#endif
