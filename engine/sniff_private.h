/*
 * sniff_private.h - what the sniffers share
 */
#ifndef ENGINE_SNIFF_PRIVATE_H
#define ENGINE_SNIFF_PRIVATE_H

#include <stdint.h>

#include "engine/sniff.h"

/* Checks a name as it came and writes it in lower case: SNIFF_NAME, or SNIFF_NOT for an address and what is no domain name. */
enum sniff sniff_host(const uint8_t *s, size_t len, char host[HOST_MAX + 1]);

/* The server name of a handshake message that begins with the bytes there are. */
enum sniff sniff_hello(const uint8_t *p, size_t len, char host[HOST_MAX + 1]);

#endif
