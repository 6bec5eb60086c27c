from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0002_own_data'),
    ]

    operations = [
        migrations.AddField(
            model_name='job',
            name='labels',
            field=models.JSONField(blank=True, default=dict),
        ),
        migrations.AddField(
            model_name='suite',
            name='study',
            field=models.CharField(blank=True, db_index=True, default='', max_length=50),
        ),
    ]
