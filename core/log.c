/*
 * log.c - one line per message on stderr, and a second reader
 *
 * A message is made in one buffer on the stack and written by one write(2), so lines of two processes do not mix; what does not fit in 2
 * KiB is cut. errno is left as it was, so that a message may stand between a failed call and the look at its reason.
 */
#include "core/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum log_level log_threshold = LOG_INFO;
enum log_level log_sink_threshold = LOG_SILENT;

static log_sink_fn *sink;
static void *sink_arg;

static const char *const level_name[] = { "debug", "info", "warning", "error", "silent" };
static const char *const level_tag[] = { "debug", "info ", "warn ", "error", "" };
static const char *const sys_name[LOG_N_SYS] = { "main", "tcp", "udp", "icmp", "dns", "rules", "out", "tun", "cfg", "plat", "api" };

void log_writev(enum log_level level, enum log_sys sys, const char *fmt, va_list ap)
{
    char line[2048];
    size_t head = (size_t)snprintf(line, sizeof(line), "%s %-5s ", level_tag[level], sys_name[sys]);
    int saved = errno, n = vsnprintf(line + head, sizeof(line) - head - 1, fmt, ap);
    size_t len = head + (n < 0 ? 0 : (size_t)n);

    if (len > sizeof(line) - 2)
        len = sizeof(line) - 2;
    if (level >= log_sink_threshold && sink)
        sink(sink_arg, level, sys, line + head);
    line[len] = '\n';
    if (level >= log_threshold && write(STDERR_FILENO, line, len + 1) < 0)
        errno = saved; /* nobody to tell */
    errno = saved;
}

void log_write(enum log_level level, enum log_sys sys, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    log_writev(level, sys, fmt, ap);
    va_end(ap);
}

void log_set_sink(log_sink_fn *fn, void *arg, enum log_level level)
{
    sink = fn;
    sink_arg = arg;
    log_sink_threshold = fn ? level : LOG_SILENT;
}

const char *log_level_name(enum log_level level)
{
    return level_name[level];
}

int log_level_parse(const char *s, enum log_level *out)
{
    for (unsigned i = 0; i < sizeof(level_name) / sizeof(level_name[0]); i++) {
        if (!strcasecmp(s, level_name[i])) {
            *out = (enum log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

const char *log_sys_name(enum log_sys sys)
{
    return sys_name[sys];
}

/* Length of the valid UTF-8 sequence at s (RFC 3629), or 0. */
static size_t utf8_len(const unsigned char *s, size_t left)
{
    size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;

    if (!n || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

const char *log_safe(const char *s, size_t len, char *buf, size_t size)
{
    static const char hex[] = "0123456789abcdef";
    size_t at = 0;

    for (size_t i = 0; i < len;) {
        const unsigned char *c = (const unsigned char *)s + i;
        size_t n = utf8_len(c, len - i);

        if (n == 0 || c[0] < 0x20 || c[0] == 0x7f || (c[0] == 0xc2 && n == 2 && c[1] < 0xa0)) {
            if (at + 5 > size)
                break;
            memcpy(buf + at, (char[]){ '\\', 'x', hex[c[0] >> 4], hex[c[0] & 15] }, 4);
            at += 4;
            i++;
            continue;
        }
        if (at + n + 1 > size)
            break;
        memcpy(buf + at, c, n);
        at += n;
        i += n;
    }
    buf[at] = 0;
    return buf;
}
