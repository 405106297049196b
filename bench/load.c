/* A load generator for where wrk is not installed: keep-alive POSTs on loopback, as many as possible.
 *
 *   load PORT PATH CONNECTIONS SECONDS KEY BODY_FILE        prints "answers N errors M"
 *
 * One thread, epoll; each connection sends the next request when it has read the answer to the last.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST_BYTES = 128 * 1024, ANSWER_BYTES = 8192, EVENTS_MAX = 256, FILES_MAX = 65536 };

static char request[REQUEST_BYTES];
static int request_bytes;
static struct {
    size_t used;
    char buffer[ANSWER_BYTES];
} *answers[FILES_MAX];
static unsigned long good, bad;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void ask(int file) {
    if (write(file, request, (size_t)request_bytes) != request_bytes)
        bad++;
}

static void readable(int poll, int file) {
    ssize_t got = read(file, answers[file]->buffer + answers[file]->used, ANSWER_BYTES - 1 - answers[file]->used);
    if (got <= 0) {
        bad++;
        epoll_ctl(poll, EPOLL_CTL_DEL, file, NULL);
        close(file);
        return;
    }
    answers[file]->used += (size_t)got;
    answers[file]->buffer[answers[file]->used] = 0;
    char *end = strstr(answers[file]->buffer, "\r\n\r\n");
    char *length = end ? strcasestr(answers[file]->buffer, "\ncontent-length:") : NULL;
    if (!length)
        return;
    size_t whole = (size_t)(end + 4 - answers[file]->buffer) + strtoul(length + 16, NULL, 10);
    if (answers[file]->used < whole)
        return;
    if (strncmp(answers[file]->buffer, "HTTP/1.1 2", 10) == 0)
        good++;
    else
        bad++;
    answers[file]->used = 0;
    ask(file);
}

int main(int count, char **words) {
    if (count != 7) {
        fprintf(stderr, "load PORT PATH CONNECTIONS SECONDS KEY BODY_FILE\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    static char body[REQUEST_BYTES / 2];
    FILE *file = fopen(words[6], "rb");
    size_t body_bytes = file ? fread(body, 1, sizeof body, file) : 0;
    if (!body_bytes) {
        perror("load");
        return 1;
    }
    fclose(file);
    request_bytes = snprintf(request, REQUEST_BYTES,
                             "POST %s HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer %s\r\n"
                             "content-type: application/json\r\ncontent-length: %zu\r\n\r\n",
                             words[2], words[5], body_bytes);
    memcpy(request + request_bytes, body, body_bytes);
    request_bytes += (int)body_bytes;

    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(words[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int poll = epoll_create1(0), yes = 1;
    for (int i = 0; i < atoi(words[3]); i++) {
        int connection = socket(AF_INET, SOCK_STREAM, 0);
        if (connection < 0 || connect(connection, (struct sockaddr *)&address, sizeof address)) {
            perror("load");
            return 1;
        }
        setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        answers[connection] = calloc(1, sizeof *answers[connection]);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = connection};
        epoll_ctl(poll, EPOLL_CTL_ADD, connection, &event);
        ask(connection);
    }
    struct epoll_event ready[EVENTS_MAX];
    for (double end = now() + atof(words[4]); now() < end;)
        for (int i = epoll_wait(poll, ready, EVENTS_MAX, 100) - 1; i >= 0; i--)
            readable(poll, ready[i].data.fd);
    printf("answers %lu errors %lu\n", good, bad);
    return 0;
}
