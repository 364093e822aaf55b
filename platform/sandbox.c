/*
 * sandbox.c - the worker gives up every privilege
 *
 *   groups ─► bounding set ─► user id ─► capabilities ─► no new ones ─► parent-death signal ─► not dumpable ─► system calls
 *
 * Order matters: the id goes before the first thread and the first socket (a socket remembers the id it was made under, and routing and nft know our traffic by
 * that id); the parent-death signal is set after it (a change of id clears it).
 *
 * The filter of system calls names what the worker never needs (running programs, looking into others, mounting, namespaces, kernel doors, other kinds of sockets), so a
 * library that learns a new harmless call does not break.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "platform/sys.h"

#define SOCK_FD 3

/* ---- system calls ---- */

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define NATIVE_ARCH AUDIT_ARCH_RISCV64
#endif

#ifdef NATIVE_ARCH

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ANSWER(err) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (err))
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define DENY(name) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1), ANSWER(EPERM)
#define FAMILY(f) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (f), 0, 1), ALLOW
#define NAMESPACES (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)
#define X32 0x40000000u /* calls of the x32 ABI carry this bit */

static const struct sock_filter filter[] = {
    LOAD(arch),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCH, 1, 0),
    ANSWER(EPERM),
    LOAD(nr),
    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32, 0, 1),
    ANSWER(ENOSYS),
    /* programs and other processes */
    DENY(execve), DENY(execveat), DENY(process_vm_readv), DENY(process_vm_writev), DENY(kcmp), DENY(pidfd_getfd),
#ifndef __SANITIZE_ADDRESS__ /* the leak checker stops its own threads with it */
    DENY(ptrace),
#endif
    /* file systems and namespaces */
    DENY(mount), DENY(umount2), DENY(pivot_root), DENY(chroot), DENY(move_mount), DENY(fsopen), DENY(fsmount), DENY(open_tree), DENY(mount_setattr),
    DENY(open_by_handle_at), DENY(mknodat), DENY(swapon), DENY(swapoff), DENY(quotactl), DENY(acct), DENY(unshare), DENY(setns),
    /* doors into the kernel */
    DENY(bpf), DENY(perf_event_open), DENY(userfaultfd), DENY(io_uring_setup), DENY(add_key), DENY(request_key), DENY(keyctl), DENY(init_module),
    DENY(finit_module), DENY(delete_module), DENY(kexec_load), DENY(reboot), DENY(settimeofday), DENY(clock_settime), DENY(sethostname),
    /* the C library falls back to clone, whose flags can be looked at */
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1), ANSWER(ENOSYS),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 4),
    LOAD(args[0]),
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, NAMESPACES, 0, 1),
    ANSWER(EPERM),
    ALLOW,
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 1, 0),
    ALLOW,
    LOAD(args[0]),
    FAMILY(AF_UNIX), FAMILY(AF_INET), FAMILY(AF_INET6), FAMILY(AF_NETLINK),
    ANSWER(EAFNOSUPPORT),
};

/* A kernel without seccomp is no reason not to work. */
static int filter_calls(void)
{
    struct sock_fprog p = { sizeof(filter) / sizeof(filter[0]), (struct sock_filter *)filter };

    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p) < 0 && errno != EINVAL ? -errno : 0;
}

#else
static int filter_calls(void)
{
    return 0;
}
#endif

/* ---- user id and capabilities ---- */

/* Where the right to do so is missing, no_new_privs alone keeps new capabilities away. */
static int drop_bounding_set(void)
{
    for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EPERM)
            return -errno;
    return 0;
}

static int drop_id(void)
{
    struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct none[2] = { 0 };
    uid_t uid = plat_worker_uid();

    if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
        return -errno;
    return syscall(SYS_capset, &head, none) < 0 ? -errno : 0;
}

/* The supervisor may have died before we asked to be told. */
static bool is_orphan(void)
{
    struct pollfd p = { .fd = SOCK_FD };

    return poll(&p, 1, 0) != 0; /* hung up, or no socket at all */
}

int plat_worker_init(struct plat_worker *w)
{
    int r;

    memset(w, 0, sizeof(*w));
    w->io.fd = SOCK_FD;
    list_init(&w->owners);
    marks_open(w);
    if ((r = drop_bounding_set()) < 0 || (r = drop_id()) < 0)
        return r;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
        return -errno;
    if (is_orphan() || fcntl(SOCK_FD, F_SETFD, FD_CLOEXEC) < 0)
        return -EPIPE;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN); /* the terminal's Ctrl-C and hang-up are the supervisor's business */
    signal(SIGHUP, SIG_IGN);
    return filter_calls();
}

/* ---- facts about this process ---- */

uint64_t plat_raise_nofile(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) < 0)
        return 1024;
    r.rlim_cur = r.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &r) < 0)
        getrlimit(RLIMIT_NOFILE, &r);
    return r.rlim_cur;
}

uint64_t plat_rss(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long total, resident = 0;

    if (!f)
        return 0;
    if (fscanf(f, "%lu %lu", &total, &resident) != 2)
        resident = 0;
    fclose(f);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}
