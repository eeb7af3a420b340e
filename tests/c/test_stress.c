/* The mix that corrupts parking_lot 0.12.1 within two seconds (R01): readers that hold about as long as writers with short
 * timeouts wait. Seconds from the command line.
 *
 * With that bug put back (make BUG=465) most runs of two seconds find it. The deterministic twins are in test_cancel.c and
 * among the explorer's programs. */
#include "stress.h"

#ifdef __linux__
#include <sys/prctl.h>
#endif

#define READING 6
#define WRITING 4

static _Atomic uint64_t reads, writes, timeouts;

static void *read_on(void *seed)
{
    uint32_t random = (uint32_t)(uintptr_t)seed * 2654435761u | 1;
    while (!stop) {
        lots_op op, again;
        int recursive = next_random(&random) % 8 == 0;
        acquire(&op, LOTS_READ, LOTS_NEVER);
        spin_for(next_random(&random) % 20000);
        if (recursive) { /* it may pass the writer that waits for it */
            acquire(&again, LOTS_READ_RECURSIVE, LOTS_NEVER);
            release(&again, LOTS_READ_RECURSIVE, 0, NULL);
        }
        release(&op, LOTS_READ, 0, NULL);
        reads++;
    }
    return NULL;
}

static void *write_on(void *seed)
{
    static const int64_t patience[] = {5000, 5000, 20000, 100000, 1000000};
#ifdef __linux__
    prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0); /* 5 us are 5 us, not 55 */
#endif
    uint32_t random = (uint32_t)(uintptr_t)seed * 2246822519u | 1;
    while (!stop) {
        lots_op op;
        if (acquire(&op, LOTS_WRITE, now_ns() + patience[next_random(&random) % 5]) == LOTS_READY) {
            release(&op, LOTS_WRITE, next_random(&random) % 4 == 0, NULL);
            writes++;
        } else {
            timeouts++;
        }
        CHECK_EQ(lots_op_cancel(&op, LOTS_BY_CANCEL, NULL), LOTS_MISUSE); /* it has ended, this way or that */
    }
    return NULL;
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 2;
    pthread_t threads[READING + WRITING + 1];
    lots_op op;
    watchdog((unsigned)seconds + 60);
    check_test = "stress";
    CHECK(!pthread_create(&threads[READING + WRITING], NULL, sample, (void *)(uintptr_t)(2 * READING)));
    for (int i = 0; i < READING + WRITING; i++)
        CHECK(!pthread_create(&threads[i], NULL, i < READING ? read_on : write_on, (void *)(uintptr_t)(i + 1)));
    nanosleep(&(struct timespec){(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)}, NULL); /* its length */
    stop = 1;
    for (int i = 0; i < READING + WRITING + 1; i++)
        CHECK(!pthread_join(threads[i], NULL));
    CHECK_WORD(&word, 0);
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
    CHECK_EQ(acquire(&op, LOTS_WRITE, now_ns()), LOTS_READY); /* R02: nothing is in the way now */
    release(&op, LOTS_WRITE, 0, NULL);
    CHECK(reads && timeouts);
    printf("  %llu reads, %llu writes, %llu timeouts\n", (unsigned long long)reads, (unsigned long long)writes,
           (unsigned long long)timeouts);
    return 0;
}
