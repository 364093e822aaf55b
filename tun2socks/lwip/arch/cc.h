/* cc.h - what lwIP wants to know of compiler and platform */
#ifndef LWIP_ARCH_CC_H
#define LWIP_ARCH_CC_H

#include <stdlib.h>
#include <sys/time.h>

#define LWIP_TIMEVAL_PRIVATE 0
unsigned int stack_lwip_rand(void);
#define LWIP_RAND() stack_lwip_rand()
void stack_lwip_assert(const char *what, const char *file, int line) __attribute__((noreturn));
#define LWIP_PLATFORM_DIAG(x) do { } while (0)
#define LWIP_PLATFORM_ASSERT(x) stack_lwip_assert(x, __FILE__, __LINE__)

#endif
