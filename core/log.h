/*
 * log.h - levels and subsystems
 *
 * Written for the person with a problem. Arguments are not evaluated when the level is off. Nothing secret may be
 * passed in: passwords, keys and tokens never reach a log at any level. Untrusted text goes through log_safe().
 */
#ifndef CORE_LOG_H
#define CORE_LOG_H

#include <stdarg.h>
#include <stddef.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_SILENT };
enum log_sys {
    LOG_MAIN, LOG_TCP, LOG_UDP, LOG_ICMP, LOG_DNS, LOG_RULES, LOG_OUT, LOG_TUN, LOG_CFG, LOG_PLAT, LOG_API, LOG_N_SYS
};

extern enum log_level log_threshold; /* messages below are dropped */

/* Writes to stderr as one line "LEVEL  sys text" and hands the text to the sink, if any. Thread-safe: no; loop thread only. */
void log_write(enum log_level level, enum log_sys sys, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void log_writev(enum log_level level, enum log_sys sys, const char *fmt, va_list ap);

/* A second reader of every message at or above its own level (the controller's /logs). NULL removes it. line lives during the call. */
typedef void log_sink_fn(void *arg, enum log_level level, enum log_sys sys, const char *line);
void log_set_sink(log_sink_fn *fn, void *arg, enum log_level level);

/* A word for a level as profiles write it ("debug", "info", "warning", "error", "silent") and back; -EINVAL if unknown. */
const char *log_level_name(enum log_level level);
int log_level_parse(const char *s, enum log_level *out);
const char *log_sys_name(enum log_sys sys);

/* Copies s with control bytes and invalid UTF-8 escaped as \xNN; always NUL-terminated; returns buf. */
const char *log_safe(const char *s, size_t len, char *buf, size_t size);

extern enum log_level log_sink_threshold; /* LOG_SILENT while there is no sink */
#define log_on(level) ((level) >= log_threshold || (level) >= log_sink_threshold)
#define log_at(level, sys, ...) do { if (log_on(level)) log_write(level, sys, __VA_ARGS__); } while (0)
#define log_dbg(sys, ...) log_at(LOG_DEBUG, sys, __VA_ARGS__)
#define log_info(sys, ...) log_at(LOG_INFO, sys, __VA_ARGS__)
#define log_warn(sys, ...) log_at(LOG_WARN, sys, __VA_ARGS__)
#define log_err(sys, ...) log_at(LOG_ERROR, sys, __VA_ARGS__)

#endif
