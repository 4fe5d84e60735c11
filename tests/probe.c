/* Copyright: (c) 2026, the ocilab.hosts authors
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What a process can see of itself only by system calls, for the tests: built static, run in containers.
 *   probe call NUMBER [ARGUMENT...]      "result errno" of one system call
 *   probe call32 NUMBER                  the same by the 32 bit entry of x86
 *   probe scheduler | memory | keyring   attributes that /proc does not show
 *   probe number NAME                    the number of a system call on this machine
 *   probe notify WORD...                 send each to $NOTIFY_SOCKET
 *   probe hunt SECONDS                   what of other processes can be opened: "exe PID PATH", "dir PID FD PATH"
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
    uint32_t minimum, maximum;
};

static const struct { const char *name; long number; } numbers[] = {
    {"bpf", SYS_bpf}, {"clone", SYS_clone}, {"clone3", 435}, {"execveat", SYS_execveat}, {"fsconfig", 431},
    {"getpriority", SYS_getpriority}, {"getppid", SYS_getppid}, {"ioprio_get", SYS_ioprio_get}, {"keyctl", SYS_keyctl},
    {"kill", SYS_kill}, {"personality", SYS_personality}, {"sync", SYS_sync}, {"unshare", SYS_unshare},
    {"umask", SYS_umask}, {"write", SYS_write},
};

static int number(const char *name) {
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!strcmp(numbers[i].name, name)) { printf("%ld\n", numbers[i].number); return 0; }
    return 2;
}

static int call(int count, char **words) {
    long a[7] = {0};
    for (int i = 0; i < count && i < 7; i++) a[i] = (long)strtoull(words[i], 0, 0);
    errno = 0;
    long result = syscall(a[0], a[1], a[2], a[3], a[4], a[5], a[6]);
    printf("%ld %d\n", result, errno);
    return 0;
}

static int call32(const char *word) {
#ifdef __x86_64__
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(strtol(word, 0, 0)), "b"(0), "c"(0), "d"(0) : "memory");
    printf("%d\n", (int)result);
    return 0;
#else
    (void)word;
    return 2;
#endif
}

static int scheduler(void) {
    struct attributes a = {0};
    if (syscall(SYS_sched_getattr, 0, &a, sizeof a, 0)) return 1;
    printf("%u %d %u %llu %llu %llu %llu\n", a.policy, a.nice, a.priority, (unsigned long long)a.flags,
           (unsigned long long)a.runtime, (unsigned long long)a.deadline, (unsigned long long)a.period);
    return 0;
}

static int memory(void) {
    int mode = -1;
    unsigned long nodes[16] = {0};
    long result = syscall(SYS_get_mempolicy, &mode, nodes, sizeof nodes * 8, 0, 0);
    printf("%ld %d %lu\n", result, mode, nodes[0]);
    return 0;
}

static int keyring(void) {
    char text[256] = {0};
    if (syscall(SYS_keyctl, 6, -3, text, sizeof text - 1) < 0) { printf("errno %d\n", errno); return 1; }
    puts(text);
    return 0;
}

static void link_of(int fd, char *target, size_t size) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(path, target, size - 1);
    target[length > 0 ? length : 0] = 0;
}

static void hunt_one(int pid) {
    char path[300], target[300];
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    int fd = open(path, O_RDONLY);
    if (fd >= 0) {
        link_of(fd, target, sizeof target);
        printf("exe %d %s\n", pid, target);
        close(fd);
    }
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *files = opendir(path);
    for (struct dirent *item; files && (item = readdir(files));) {
        if (item->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/proc/%d/fd/%s", pid, item->d_name);
        fd = open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
        if (fd < 0) continue;
        link_of(fd, target, sizeof target);
        printf("dir %d %s %s\n", pid, item->d_name, target);
        close(fd);
    }
    if (files) closedir(files);
}

static int hunt(int seconds) {
    time_t end = time(0) + seconds;
    setvbuf(stdout, 0, _IOLBF, 4096);
    puts("hunting");
    while (time(0) < end) {
        DIR *all = opendir("/proc");
        for (struct dirent *item; all && (item = readdir(all));) {
            int pid = atoi(item->d_name);
            if (pid > 0 && pid != getpid()) hunt_one(pid);
        }
        if (all) closedir(all);
        usleep(200);
    }
    return 0;
}

/* Send the words to $NOTIFY_SOCKET, each as a datagram (sd_notify(3)). */
static int notify(int count, char **words) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");
    if (!path) { puts("no NOTIFY_SOCKET"); return 3; }
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    int socket_fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    for (int i = 0; i < count; i++) {
        if (sendto(socket_fd, words[i], strlen(words[i]), 0, (struct sockaddr *)&address, sizeof address) < 0) {
            perror(path);
            return 4;
        }
    }
    return 0;
}

int main(int count, char **words) {
    if (count > 2 && !strcmp(words[1], "call")) return call(count - 2, words + 2);
    if (count > 2 && !strcmp(words[1], "call32")) return call32(words[2]);
    if (count > 2 && !strcmp(words[1], "number")) return number(words[2]);
    if (count > 2 && !strcmp(words[1], "hunt")) return hunt(atoi(words[2]));
    if (count > 1 && !strcmp(words[1], "notify")) return notify(count - 2, words + 2);
    if (count > 1 && !strcmp(words[1], "scheduler")) return scheduler();
    if (count > 1 && !strcmp(words[1], "memory")) return memory();
    if (count > 1 && !strcmp(words[1], "keyring")) return keyring();
    return 2;
}
