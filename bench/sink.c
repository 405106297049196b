/* A sink for deliveries: an HTTP/1.1 server on loopback that answers every request with 200 and counts.
 *
 *   sink PORT        prints "listening PORT" once, then on SIGUSR1 a line "requests N", and ends on SIGTERM
 *
 * One thread, epoll, keep-alive. It reads Content-Length bodies and nothing else: enough for a bench whose sender
 * is known, and cheap enough not to be what is measured.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_BYTES = 64 * 1024, FILES_MAX = 65536, EVENTS_MAX = 256 };

static const char ANSWER[] = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

struct connection {
    size_t used;      /* bytes in the buffer */
    size_t body_left; /* of the request whose head was read */
    char buffer[BUFFER_BYTES];
};

static struct connection *connections[FILES_MAX];
static unsigned long requests;

static void drop(int file) {
    close(file);
    free(connections[file]);
    connections[file] = NULL;
}

static size_t content_length(const char *head, size_t bytes) {
    static const char NAME[] = "\ncontent-length:";
    for (size_t at = 0; at + sizeof NAME < bytes; at++)
        if (head[at] == '\n' && strncasecmp(head + at, NAME, sizeof NAME - 1) == 0)
            return strtoul(head + at + sizeof NAME - 1, NULL, 10);
    return 0;
}

/* Takes whole requests out of the buffer; the number of answers that are due. */
static unsigned take(struct connection *c) {
    unsigned due = 0;
    size_t at = 0;
    while (at < c->used) {
        if (c->body_left) {
            size_t part = c->used - at < c->body_left ? c->used - at : c->body_left;
            at += part;
            c->body_left -= part;
            if (!c->body_left) {
                due++;
            }
            continue;
        }
        char *end = memmem(c->buffer + at, c->used - at, "\r\n\r\n", 4);
        if (!end)
            break;
        size_t head = (size_t)(end - (c->buffer + at)) + 4;
        c->body_left = content_length(c->buffer + at, head);
        at += head;
        if (!c->body_left)
            due++;
    }
    memmove(c->buffer, c->buffer + at, c->used - at);
    c->used -= at;
    return due;
}

static void readable(int file) {
    struct connection *c = connections[file];
    ssize_t got = read(file, c->buffer + c->used, BUFFER_BYTES - c->used);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            drop(file);
        return;
    }
    c->used += (size_t)got;
    unsigned due = take(c);
    requests += due;
    for (; due; due--)
        if (write(file, ANSWER, sizeof ANSWER - 1) < 0) {
            drop(file);
            return;
        }
    if (c->used == BUFFER_BYTES) /* a head that does not fit */
        drop(file);
}

static void take_connection(int listener, int poll) {
    int file = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (file < 0)
        return;
    if (file >= FILES_MAX || !(connections[file] = malloc(sizeof(struct connection)))) {
        close(file);
        return;
    }
    connections[file]->used = connections[file]->body_left = 0;
    int yes = 1;
    setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = file};
    epoll_ctl(poll, EPOLL_CTL_ADD, file, &event);
}

int main(int count, char **words) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    int told = signalfd(-1, &signals, 0);

    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), yes = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(count > 1 ? atoi(words[1]) : 0)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 1024)) {
        perror("sink");
        return 1;
    }
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("listening %d\n", ntohs(address.sin_port));
    fflush(stdout);

    int poll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, ready[EVENTS_MAX];
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    event.data.fd = told;
    epoll_ctl(poll, EPOLL_CTL_ADD, told, &event);
    for (;;) {
        int n = epoll_wait(poll, ready, EVENTS_MAX, -1);
        for (int i = 0; i < n; i++) {
            int file = ready[i].data.fd;
            if (file == listener) {
                take_connection(listener, poll);
            } else if (file == told) {
                struct signalfd_siginfo info;
                if (read(told, &info, sizeof info) != sizeof info)
                    return 1;
                printf("requests %lu\n", requests);
                fflush(stdout);
                if (info.ssi_signo == SIGTERM)
                    return 0;
            } else if (connections[file]) {
                readable(file);
            }
        }
    }
}
