/* Numbers of threads where the system has no key left, or refuses to note something with it: nobody keeps a slot then, for its
 * end would not be noticed, and the list says that it is not complete. */
#include "sleepers.h"

#include "threads.h"

#include <errno.h>
#include <stdlib.h>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
int main(void) { return 0; } /* their own runtime has keys */
#else

/* These are ours: there is a key, or none, as the environment says when the core asks for one, before main. */
static int keys, notes;

int pthread_key_create(pthread_key_t *key, void (*destructor)(void *))
{
    (void)destructor;
    *key = 1;
    keys++;
    return getenv("NO_KEY") ? EAGAIN : 0;
}

int pthread_setspecific(pthread_key_t key, const void *value)
{
    (void)key;
    (void)value;
    notes++;
    return getenv("NO_KEY") ? 0 : ENOMEM;
}

static void the_list_is_not_complete(void)
{
    CHECK_EQ(lots_threads(NULL, NULL, 0, &complete), 0);
    CHECK_EQ(complete, 0);
    CHECK(lots_thread_token());
    CHECK(!thread_is_at((lots_waiter *)numbers)); /* nor is it noted what this one is in the middle of */
    CHECK(!thread_was_at());
}

static void nobody_keeps_a_slot(void)
{
    sleeper one, two;
    CHECK_EQ(lots_threads(NULL, NULL, 0, &complete), 0);
    CHECK_EQ(complete, 1);
    start(&one);
    CHECK_EQ(thread_of(one.number), 0);
    CHECK_EQ(complete, 0);
    start(&two);
    CHECK(one.number != two.number);
    CHECK_EQ(thread_of(two.number), 0);
    the_list_is_not_complete();
    end(&one);
    the_list_is_not_complete();
    end(&two);
    the_list_is_not_complete(); /* for good */
}

int main(int count, char **arguments)
{
    watchdog(60);
    (void)count;
    CHECK_EQ(keys, 1);
    RUN(nobody_keeps_a_slot);
    CHECK_EQ(!notes, !!getenv("NO_KEY")); /* without a key nothing is noted */
    if (getenv("NO_KEY")) {
        in_a_child(the_list_is_not_complete);
        return 0;
    }
    fflush(stdout);
    setenv("NO_KEY", "1", 1);
    execv("/proc/self/exe", arguments);
    return execv(arguments[0], arguments);
}
#endif
