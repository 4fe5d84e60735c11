/* Copyright: (c) 2026, the ocilab.hosts authors
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 *   pulse NAME ADDRESS PORT
 * Ten times a second "NAME number lost" by UDP to a server that answers, each time from a new port, so that no firewall
 * takes it for something that it has let pass before. lost: how many had no answer within two seconds. Built static.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void end(int number) {
    (void)number;
    _exit(0);
}

int main(int count, char **words) {
    char text[64];
    unsigned long number = 0, lost = 0;
    struct sockaddr_in server = {.sin_family = AF_INET};
    if (count != 4 || !inet_aton(words[2], &server.sin_addr)) return 2;
    server.sin_port = htons(atoi(words[3]));
    signal(SIGTERM, end);
    signal(SIGPWR, end);
    for (;; usleep(100000)) {
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct pollfd answer = {.fd = fd, .events = POLLIN};
        int length = snprintf(text, sizeof text, "%s %lu %lu", words[1], ++number, lost);
        if (connect(fd, (struct sockaddr *)&server, sizeof server) || send(fd, text, length, 0) != length ||
            poll(&answer, 1, 2000) != 1 || recv(fd, text, sizeof text, 0) != length)
            lost++;
        close(fd);
    }
}
