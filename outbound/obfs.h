/*
 * obfs.h - the disguises of the ss plugin "obfs" (simple-obfs), and the multiplexer that v2ray-plugin has under its WebSocket
 *
 *   http  a WebSocket handshake in name only: http_cloak_start() with obfs_http_head()
 *   tls   records that look like a TLS connection from the second flight on
 */
#ifndef OUTBOUND_OBFS_H
#define OUTBOUND_OBFS_H

#include "core/loop.h"
#include "core/stream.h"

#define OBFS_HEAD_MAX 768
/* The request line and headers of the http disguise, with a random key; port is named unless it is 80. host: at most 255 bytes. */
void obfs_http_head(const char *host, uint16_t port, char out[OBFS_HEAD_MAX]);
/* The tls disguise; host goes into its server name. Takes down over. 0 or -ENOMEM. */
int obfs_tls_new(struct loop *l, const char *host, struct stream *down, struct stream **up);

/* One Mux.Cool sub-connection that is all there is: the first frame begins it, the last ends it. Takes down over. 0 or -ENOMEM. */
int mux_single_new(struct loop *l, struct stream *down, struct stream **up);

#endif
