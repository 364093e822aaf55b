/*
 * err.c - words for error codes
 */
#include "core/err.h"

#include <string.h>

static const char *const words[ERR_MAX - ERR_BASE] = {
    [ERR_EOF - ERR_BASE] = "end of stream",
    [ERR_PROTO - ERR_BASE] = "the peer broke its protocol",
    [ERR_AUTH - ERR_BASE] = "authentication failed",
    [ERR_RULE - ERR_BASE] = "rejected by a rule",
    [ERR_DROP - ERR_BASE] = "dropped by a rule",
    [ERR_NAME - ERR_BASE] = "the name does not resolve",
    [ERR_UNSUPPORTED - ERR_BASE] = "not supported",
    [ERR_CLOSED - ERR_BASE] = "closed by shunt",
    [ERR_LIMIT - ERR_BASE] = "a limit is reached",
};

const char *err_str(int code)
{
    if (code < 0)
        code = -code;
    if (code >= ERR_BASE && code < ERR_MAX)
        return words[code - ERR_BASE];
    return code ? strerror(code) : "no error";
}
