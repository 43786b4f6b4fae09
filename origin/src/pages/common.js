const form = document.querySelector('form');
const said = document.querySelector('[role=status]');
let token = null;

function readLink() {
    token = new URLSearchParams(location.hash.slice(1)).get('token') || token;
    // Neither the history nor whoever looks over a shoulder keeps it.
    history.replaceState(null, '', location.pathname);
    form.hidden = !token;
    said.textContent = token ? '' : 'Open this page by the link in your message.';
}

async function send(route, body) {
    const answer = await fetch(route, {
        method: 'POST',
        credentials: 'omit',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ token, ...body }),
    });
    if (answer.ok) return null;
    const problem = await answer.json().catch(() => ({}));
    if (['code_invalid', 'code_expired'].includes(problem.code)) {
        return 'This link was used already, or is too old.';
    }
    return problem.detail || 'That did not work. Try again later.';
}

function onSubmit(act) {
    form.addEventListener('submit', async (event) => {
        event.preventDefault();
        const button = form.querySelector('button');
        button.disabled = true;
        try {
            const refusal = await act();
            if (refusal !== null) said.textContent = refusal;
        } catch {
            said.textContent = 'Nobody answers. Try again later.';
        }
        button.disabled = false;
    });
}

// Another link of the kind may be opened where this page is shown.
addEventListener('hashchange', readLink);
readLink();
