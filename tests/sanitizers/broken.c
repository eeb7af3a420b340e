/* One bug of each kind, for the check that a sanitizer is awake. Built as a program, and as a library for Python to load. */
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static int shared;
static void *volatile lost;

static void *count(void *unused)
{
    for (int i = 0; i < 10000; i++)
        shared++;
    return unused;
}

int race(void)
{
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, count, NULL);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    return shared;
}

int freed(void)
{
    volatile char *block = malloc(16);
    block[1] = 1;
    free((void *)block);
    return block[1];
}

int overflow(void)
{
    volatile int most = INT_MAX;
    most = most + 1;
    return most;
}

int leak(void)
{
    for (int i = 0; i < 10; i++)
        lost = malloc(100);
    lost = NULL;
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "race"))
        race();
    else if (argc > 1 && !strcmp(argv[1], "freed"))
        freed();
    else if (argc > 1 && !strcmp(argv[1], "overflow"))
        overflow();
    else if (argc > 1 && !strcmp(argv[1], "leak"))
        leak();
    return 0;
}
